import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import type { Complaint } from "../task/ids.ts";
import { quoteInput } from "../task/quote-input.ts";

/** From here on a double may stand for an integer that it cannot hold: what came as 2^53 + 1 is 2^53 when it has been read. */
const firstInexact = 2 ** 53;
const maxComplaints = 16;

/**
 * The JSON text of a google.protobuf.Struct. The keys are sorted: some clients
 * write a map in another order each time, and a request repeated must be the same.
 * Numbers that JSON or a double cannot hold are complaints, each with its path.
 *
 * The recursion is as deep as the message, which its decoder has bounded.
 */
export function structToJson(struct: JsonObject, field: string): { text: string; complaints: Complaint[] } {
  const complaints: Complaint[] = [];
  const sorted = sortKeys(struct, field, complaints);
  return { text: JSON.stringify(sorted), complaints };
}

function sortKeys(value: JsonValue, path: string, complaints: Complaint[]): JsonValue {
  if (typeof value === "number") complain(path, checkNumber(value), complaints);
  else if (typeof value === "string") complain(path, checkString(value), complaints);
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((each, index) => sortKeys(each, `${path}[${index}]`, complaints));
  // Without a prototype, "__proto__" is a key like any other.
  const sorted = Object.create(null) as JsonObject;
  for (const key of Object.keys(value).sort()) {
    const inner = `${path}.${/^[A-Za-z0-9_-]{1,64}$/.test(key) ? key : quoteInput(key, 32)}`;
    complain(inner, checkString(key), complaints);
    sorted[key] = sortKeys(value[key] as JsonValue, inner, complaints);
  }
  return sorted;
}

function complain(field: string, description: string | undefined, complaints: Complaint[]): void {
  if (description !== undefined && complaints.length < maxComplaints) complaints.push({ field, description });
}

function checkNumber(value: number): string | undefined {
  if (!Number.isFinite(value)) return `must be a number that JSON can hold, not ${value}`;
  if (Number.isInteger(value) && Math.abs(value) >= firstInexact) {
    return "must be an integer below 2^53, beyond which a Struct does not hold all exactly; send it as text, or all as json_metadata";
  }
  return undefined;
}

function checkString(text: string): string | undefined {
  return text.isWellFormed() ? undefined : "must be well-formed text, and has half of a surrogate pair";
}
