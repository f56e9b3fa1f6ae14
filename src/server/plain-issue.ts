import type { z } from "zod";

/** What zod finds wrong with a value, in words for whoever has written the file. Undefined: as zod has it. */
export function describeIssue(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case "invalid_type":
      return issue.input === undefined ? "must be set" : must(kinds[issue.expected] ?? issue.expected, issue.input);
    case "invalid_value":
      return must(
        issue.values
          .map((value) => String(value))
          .join(", ")
          .replace(/, ([^,]*)$/, " or $1"),
        issue.input,
      );
    case "too_small":
      if (issue.origin === "string") return "must not be empty";
      return must(`${issue.inclusive ? "at least" : "more than"} ${issue.minimum}`, issue.input);
    case "too_big":
      if (issue.origin === "array") return `must have at most ${issue.maximum} entries`;
      return must(`${issue.inclusive ? "at most" : "less than"} ${issue.maximum}`, issue.input);
    default:
      return undefined;
  }
}

const kinds: Readonly<Record<string, string>> = {
  string: "a text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  tuple: "a list",
  object: "keys with their values",
  record: "keys with their values",
};

function must(be: string, input: unknown): string {
  return `must be ${be}, not ${describeValue(input)}`;
}

function describeValue(value: unknown): string {
  // A key with nothing behind it.
  if (value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "keys with their values";
  // What is left of YAML is a number, true or false.
  if (typeof value !== "string") return `${value as number}`;
  return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}...` : value);
}
