/** A check against a JSON Schema, for the keywords of draft 7 that ours has; another keyword throws, so that none is passed over. */
export type JsonSchema = { readonly [keyword: string]: unknown };

/** What is wrong with a value, each with its path; empty where nothing is. */
export function schemaComplaints(schema: JsonSchema, value: unknown, path = "$"): string[] {
  return Object.entries(schema).flatMap(([keyword, rule]) => {
    const check = keywords[keyword];
    if (check === undefined) throw new Error(`${path}: the keyword ${keyword} is not checked`);
    return check({ rule, value, path, schema });
  });
}

interface Check {
  readonly rule: unknown;
  readonly value: unknown;
  readonly path: string;
  readonly schema: JsonSchema;
}

const noComplaint = (): string[] => [];
const unless = (isFine: boolean, complaint: string): string[] => (isFine ? [] : [complaint]);

const keywords: Readonly<Record<string, (check: Check) => string[]>> = {
  $schema: noComplaint,
  title: noComplaint,
  description: noComplaint,
  default: noComplaint,
  type: ({ rule, value, path }) => unless(isOfType(value, rule as string), `${path} is no ${rule as string}`),
  enum: ({ rule, value, path }) => unless((rule as unknown[]).includes(value), `${path} is none of those`),
  minimum: ({ rule, value, path }) => unless(!isNumber(value) || value >= (rule as number), `${path} is too small`),
  maximum: ({ rule, value, path }) => unless(!isNumber(value) || value <= (rule as number), `${path} is too large`),
  exclusiveMinimum: ({ rule, value, path }) =>
    unless(!isNumber(value) || value > (rule as number), `${path} is too small`),
  minLength: ({ rule, value, path }) =>
    unless(typeof value !== "string" || value.length >= (rule as number), `${path} is too short`),
  pattern: ({ rule, value, path }) =>
    unless(typeof value !== "string" || new RegExp(rule as string, "u").test(value), `${path} is not as it must be`),
  minItems: ({ rule, value, path }) =>
    unless(!Array.isArray(value) || value.length >= (rule as number), `${path} is too short`),
  maxItems: ({ rule, value, path }) =>
    unless(!Array.isArray(value) || value.length <= (rule as number), `${path} is too long`),
  items: ({ rule, value, path }) => {
    if (!Array.isArray(value)) return [];
    // A list of schemas is for the first items.
    const of = (index: number): unknown => (Array.isArray(rule) ? (rule[index] ?? {}) : rule);
    return value.flatMap((item, index) => schemaComplaints(of(index) as JsonSchema, item, `${path}[${index}]`));
  },
  additionalItems: ({ rule, value, path, schema }) => {
    if (!Array.isArray(value)) return [];
    const first = (schema["items"] as unknown[]).length;
    return value
      .slice(first)
      .flatMap((item, index) => schemaComplaints(rule as JsonSchema, item, `${path}[${first + index}]`));
  },
  properties: ({ rule, value, path }) =>
    Object.entries(rule as Record<string, JsonSchema>).flatMap(([key, property]) =>
      isObject(value) && Object.hasOwn(value, key) ? schemaComplaints(property, value[key], `${path}.${key}`) : [],
    ),
  required: ({ rule, value, path }) =>
    (rule as string[]).flatMap((key) =>
      unless(!isObject(value) || Object.hasOwn(value, key), `${path}.${key} is missing`),
    ),
  propertyNames: ({ rule, value, path }) =>
    isObject(value)
      ? Object.keys(value).flatMap((key) => schemaComplaints(rule as JsonSchema, key, `${path}.${key}`))
      : [],
  additionalProperties: ({ rule, value, path, schema }) => {
    if (!isObject(value)) return [];
    const others = Object.keys(value).filter((key) => !Object.hasOwn((schema["properties"] ?? {}) as object, key));
    return others.flatMap((key) =>
      rule === false
        ? [`${path}.${key} is no key of it`]
        : schemaComplaints(rule as JsonSchema, value[key], `${path}.${key}`),
    );
  },
  oneOf: ({ rule, value, path }) => {
    const fitting = (rule as JsonSchema[]).filter((each) => schemaComplaints(each, value, path).length === 0);
    return unless(fitting.length === 1, `${path} fits ${fitting.length} of those that it must fit one of`);
  },
};

function isNumber(value: unknown): value is number {
  return typeof value === "number";
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isOfType(value: unknown, type: string): boolean {
  switch (type) {
    case "object":
      return isObject(value);
    case "array":
      return Array.isArray(value);
    case "integer":
      return Number.isInteger(value);
    default:
      return typeof value === type;
  }
}
