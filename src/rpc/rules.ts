/** The rules that the proto has for requests, its buf.validate options, and what to say where one is broken. */
import {
  create,
  type DescMessage,
  type DescOneof,
  type DescService,
  getOption,
  hasOption,
  type Message,
} from "@bufbuild/protobuf";
import type { Path } from "@bufbuild/protobuf/reflect";
import { createValidator, type Violation } from "@bufbuild/protovalidate";
import { field as fieldRules } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import type { FieldViolation } from "../controller/error.ts";
import { labelKeyPattern } from "../task/ids.ts";
import { byteLength } from "../task/limits.ts";
import { quoteInput } from "../task/quote-input.ts";
import { surelyKeepsRules } from "./quick-rules.ts";

const validator = createValidator({ regexMatch: matchPattern });

/** Makes the rules of all requests of `service` ready, which takes 0.3 s: no call should wait for that. */
export function warmRules(service: DescService): void {
  for (const { input } of service.methods) checkRules(input, create(input));
}

/** Every rule that `message` breaks. */
export function checkRules(desc: DescMessage, message: Message): FieldViolation[] {
  if (surelyKeepsRules(desc, message)) return [];
  // Each key of a map costs 20 µs, and a request has room for 100,000: what is too much is not looked into.
  const fields = message as unknown as Readonly<Record<string, object>>;
  const crowded = countLimits(desc).flatMap(({ name, localName, max }) => {
    const count = Object.keys(fields[localName] ?? {}).length;
    return count > max ? [{ name, localName, description: `must be at most ${max} ${name}, and are ${count}` }] : [];
  });
  const emptied: Record<string, object> = {};
  for (const { localName } of crowded) emptied[localName] = Array.isArray(fields[localName]) ? [] : {};
  const looked: Message = crowded.length === 0 ? message : { ...message, ...emptied };
  const result = validator.validate(desc, looked);
  // That a rule cannot be evaluated is a mistake in the proto.
  if (result.kind === "error") throw result.error;
  const violations = result.kind === "invalid" ? result.violations : [];
  return [
    ...crowded.map(({ name, description }) => ({ field: name, description })),
    ...violations.map((violation) => ({
      field: pathText(violation.field),
      description: describe(violation, violation.forKey ? keyOf(violation.field) : valueAt(looked, violation.field)),
    })),
  ];
}

interface CountLimit {
  readonly name: string;
  readonly localName: string;
  readonly max: bigint;
}

const knownCountLimits = new Map<DescMessage, readonly CountLimit[]>();

/** How much may be in the lists and maps of a message, by its rules. */
function countLimits(desc: DescMessage): readonly CountLimit[] {
  const known = knownCountLimits.get(desc);
  if (known !== undefined) return known;
  const limits = desc.fields.flatMap((field) => {
    if (!hasOption(field, fieldRules)) return [];
    const { name, localName } = field;
    const { type } = getOption(field, fieldRules);
    if (type.case === "repeated") return [{ name, localName, max: type.value.maxItems }];
    return type.case === "map" ? [{ name, localName, max: type.value.maxPairs }] : [];
  });
  knownCountLimits.set(desc, limits);
  return limits;
}

const patterns = new Map<string, RegExp>();

/** The engine's own expressions are fast, and know the characters that the rest of the program knows. The patterns are those of the proto only, and none of them goes back. */
function matchPattern(pattern: string, text: string): boolean {
  const known = patterns.get(pattern) ?? new RegExp(pattern, "u");
  patterns.set(pattern, known);
  return known.test(text);
}

/** As the proto has it: "labels[env]", "states[1]"; a key that no label can have is quoted. */
function pathText(path: Path): string {
  let text = "";
  for (const part of path) {
    if (part.kind === "field" || part.kind === "oneof") text += text === "" ? part.name : `.${part.name}`;
    else if (part.kind === "list_sub") text += `[${part.index}]`;
    else if (part.kind === "map_sub") text += `[${keyText(String(part.key))}]`;
  }
  return text;
}

function keyText(key: string): string {
  return key.length <= 63 && labelKeyPattern.test(key) ? key : quoteInput(key, 32);
}

function keyOf(path: Path): unknown {
  const last = path.at(-1);
  return last?.kind === "map_sub" ? last.key : undefined;
}

function valueAt(message: object, path: Path): unknown {
  let value: unknown = message;
  for (const part of path) {
    const inside = value as Record<PropertyKey, unknown>;
    if (part.kind === "field") value = part.oneof === undefined ? inside[part.localName] : chosenOf(inside, part.oneof);
    else if (part.kind === "list_sub") value = inside[part.index];
    else if (part.kind === "map_sub") value = inside[String(part.key)];
  }
  return value;
}

/** The value of the one member of a oneof that is set. */
function chosenOf(message: Readonly<Record<PropertyKey, unknown>>, oneof: DescOneof): unknown {
  return (message[oneof.localName] as { readonly value?: unknown }).value;
}

/** What the rule says, and what was sent instead, cut. */
function describe({ message, ruleId, field: path, forKey }: Violation, value: unknown): string {
  const inMap = path.at(-1)?.kind === "map_sub";
  const subject = forKey ? "the key " : inMap ? "the value " : "";
  if (ruleId === "enum.defined_only") return `must be one of ${enumNames(path)}, not ${String(value)}`;
  if (typeof value === "number") return `${subject}${message}, and is ${value}`;
  if (typeof value !== "string") return subject + message;
  if (value === "") return `${subject}must be set`;
  if (ruleId === "string.max_bytes") return `${subject}${message}, and has ${byteLength(value)}`;
  return `${subject}${message}, not ${quoteInput(value)}`;
}

function enumNames(path: Path): string {
  const field = path.findLast((part) => part.kind === "field");
  return field?.enum?.values.map((each) => each.name).join(", ") ?? "those of its type";
}
