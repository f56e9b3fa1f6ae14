/**
 * Finds out quickly of most messages that they keep the rules of the proto, so that only others are looked into by protovalidate, which
 * takes ten times as long and says what is wrong. What is to be checked is worked out once, from the descriptor.
 *
 * A message that is let through keeps all rules. One that is not may keep them too: whatever has a rule that is not known here is left to protovalidate.
 */
import {
  type DescEnum,
  type DescField,
  type DescMessage,
  type DescOneof,
  getOption,
  hasOption,
  isFieldSet,
  type Message,
} from "@bufbuild/protobuf";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";
import {
  field as fieldRules,
  type FieldRules,
  FieldRulesSchema,
  message as messageRules,
  oneof as oneofRules,
} from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { byteLength } from "../task/limits.ts";

type Fields = Readonly<Record<string, unknown>>;
type Keeps<V> = (value: V) => boolean;

const known = new Map<DescMessage, Keeps<Fields>>();

/** Whether the message certainly keeps the rules. */
export function surelyKeepsRules(desc: DescMessage, message: Message): boolean {
  return messageCheck(desc)(message);
}

function messageCheck(desc: DescMessage): Keeps<Fields> {
  const before = known.get(desc);
  if (before !== undefined) return before;
  const checks: Keeps<Fields>[] = [];
  const check: Keeps<Fields> = (message) => {
    for (const keeps of checks) if (!keeps(message)) return false;
    return true;
  };
  // Before its fields, as a message may have itself as a field.
  known.set(desc, check);
  if (hasOption(desc, messageRules)) checks.push(never);
  for (const oneof of desc.oneofs) if (hasOption(oneof, oneofRules)) checks.push(oneofCheck(oneof));
  for (const field of desc.fields) {
    const keeps = fieldCheck(field);
    if (keeps !== undefined) checks.push(keeps);
  }
  return check;
}

const never = (): boolean => false;

function oneofCheck(oneof: DescOneof): Keeps<Fields> {
  const isRequired = getOption(oneof, oneofRules).required;
  return (message) => !isRequired || (message[oneof.localName] as { case?: string }).case !== undefined;
}

function fieldCheck(field: DescField): Keeps<Fields> | undefined {
  const { localName, oneof } = field;
  const rules = hasOption(field, fieldRules) ? getOption(field, fieldRules) : undefined;
  const keeps = valueCheck(field, rules);
  const isRequired = rules?.required === true;
  if (keeps === undefined && !isRequired) return undefined;
  if (oneof !== undefined) {
    if (isRequired) return never;
    return (message) => {
      const chosen = message[oneof.localName] as { case?: string; value?: unknown };
      return chosen.case !== localName || keeps?.(chosen.value) !== false;
    };
  }
  const hasPresence = field.presence !== FeatureSet_FieldPresence.IMPLICIT;
  const isCollection = field.fieldKind === "list" || field.fieldKind === "map";
  if (isRequired && isCollection) return never;
  return (message) => {
    const value = message[localName];
    if (hasPresence && !isCollection && value === undefined) return !isRequired;
    if (isRequired && !hasPresence && isZero(value)) return false;
    return keeps?.(value) !== false;
  };
}

function isZero(value: unknown): boolean {
  return (
    value === 0 || value === 0n || value === "" || value === false || (value instanceof Uint8Array && !value.length)
  );
}

/** What is to be checked of a value; undefined for nothing. */
function valueCheck(field: DescField, rules: FieldRules | undefined): Keeps<unknown> | undefined {
  if (rules !== undefined && hasOthers(rules)) return never;
  switch (field.fieldKind) {
    case "message":
      return rules?.type.case === undefined ? ofMessage(field.message, rules) : never;
    case "list":
      return listCheck(field, rules);
    case "map":
      return mapCheck(field, rules);
    default:
      return rules && scalarCheck(rules, field.enum);
  }
}

function ofMessage(desc: DescMessage, rules: FieldRules | undefined): Keeps<unknown> {
  const check = messageCheck(desc);
  return (rules?.cel.length ?? 0) > 0 ? never : (value) => check(value as Fields);
}

/** Whether the rules of a field have some that are of no kind that is known here. */
function hasOthers(rules: FieldRules): boolean {
  if (rules.$unknown !== undefined && rules.$unknown.length > 0) return true;
  const kinds = new Set(["cel", "required", rules.type.case]);
  return FieldRulesSchema.fields.some((each) => isFieldSet(rules, each) && !kinds.has(each.localName));
}

/** Whether rules of a type have others than those of these names. */
function hasOtherThan(rules: object, names: readonly string[]): boolean {
  return Object.entries(rules).some(([name, value]) => {
    if (name === "$typeName" || names.includes(name)) return false;
    const choice = value as { readonly case?: unknown } | undefined;
    if (typeof choice === "object" && "case" in choice) return choice.case !== undefined;
    return Array.isArray(value) ? value.length > 0 : value !== undefined && !isZero(value);
  });
}

function listCheck(
  field: DescField & { fieldKind: "list" },
  rules: FieldRules | undefined,
): Keeps<unknown> | undefined {
  const type = rules?.type;
  if ((rules?.cel.length ?? 0) > 0) return never;
  if (type?.case !== undefined && type.case !== "repeated") return never;
  const ofItem = field.message && messageCheck(field.message);
  if (type?.case === undefined && ofItem === undefined) return undefined;
  if (type?.case === "repeated" && hasOtherThan(type.value, ["maxItems", "items"])) return never;
  const max = type?.case === "repeated" && isSet(type.value, "maxItems") ? Number(type.value.maxItems) : Infinity;
  const hasItemRules = type?.case === "repeated" && type.value.items !== undefined;
  return (value) => {
    const items = value as readonly Fields[];
    if (items.length > max || (hasItemRules && items.length > 0)) return false;
    return ofItem === undefined || items.every(ofItem);
  };
}

/** A map that has something is left to protovalidate, where there is a rule for it. */
function mapCheck(field: DescField & { fieldKind: "map" }, rules: FieldRules | undefined): Keeps<unknown> | undefined {
  const type = rules?.type;
  if (type?.case === undefined && (rules?.cel.length ?? 0) === 0 && field.message === undefined) return undefined;
  if ((rules?.cel.length ?? 0) > 0) return never;
  if (type?.case !== undefined && type.case !== "map") return never;
  if (type?.case === "map" && hasOtherThan(type.value, ["maxPairs", "keys", "values"])) return never;
  return (value) => {
    for (const _ in value as object) return false;
    return true;
  };
}

function scalarCheck({ cel, type }: FieldRules, desc: DescEnum | undefined): Keeps<unknown> {
  const checks = cel.map(({ expression }) => patternCheck(expression));
  if (type.case !== undefined) checks.push(typeCheck(type, desc));
  return (value) => {
    for (const keeps of checks) if (!keeps(value)) return false;
    return true;
  };
}

/** Of an expression that wants a text to match a pattern, not to match it, or to be empty or match. */
function patternCheck(expression: string): Keeps<unknown> {
  const parts = /^(!|this == '' \|\| )?this\.matches\('((?:[^'\\]|\\\\)*)'\)$/.exec(expression);
  if (parts === null) return never;
  const [, prefix = "", quoted = ""] = parts;
  const pattern = new RegExp(quoted.replaceAll("\\\\", "\\"), "u");
  if (prefix === "!") return (value) => !pattern.test(value as string);
  return (value) => (prefix !== "" && value === "") || pattern.test(value as string);
}

function typeCheck(type: FieldRules["type"], desc: DescEnum | undefined): Keeps<unknown> {
  switch (type.case) {
    case "uint32":
    case "uint64":
      return rangeCheck(type.value);
    case "enum":
      if (desc === undefined || hasOtherThan(type.value, ["definedOnly"])) return never;
      return (value) => !type.value.definedOnly || desc.value[value as number] !== undefined;
    case "string": {
      if (hasOtherThan(type.value, ["maxBytes"])) return never;
      const max = isSet(type.value, "maxBytes") ? Number(type.value.maxBytes) : Infinity;
      // Three bytes a unit is the most that UTF-8 takes.
      return (value) => (value as string).length * 3 <= max || byteLength(value as string) <= max;
    }
    default:
      return never;
  }
}

type RangeRules = Extract<FieldRules["type"], { case: "uint32" | "uint64" }>["value"];

function rangeCheck(rules: RangeRules): Keeps<unknown> {
  const { greaterThan, lessThan } = rules;
  if (hasOtherThan(rules, ["greaterThan", "lessThan"])) return never;
  const { value: least } = greaterThan;
  const { value: most } = lessThan;
  // That is a range to be outside of.
  if (least !== undefined && most !== undefined && least >= most) return never;
  return (value) => {
    const number = value as number | bigint;
    if (least !== undefined && (greaterThan.case === "gt" ? number <= least : number < least)) return false;
    return most === undefined || (lessThan.case === "lt" ? number < most : number <= most);
  };
}

/** Rules are messages of proto2: what is not set has its default on the prototype. */
function isSet(rules: object, name: string): boolean {
  return Object.hasOwn(rules, name);
}
