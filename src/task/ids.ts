import { byteLength, type TaskLimits } from "./limits.ts";
import { quoteInput } from "./quote-input.ts";

/** What a task id looks like. */
export const taskIdPattern = /^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$/;
/** What a controller's name looks like. */
export const controllerNamePattern = /^[a-z0-9][a-z0-9-]{0,62}$/;
/** What a label's key looks like; its length is a limit of its own. */
export const labelKeyPattern = /^[A-Za-z0-9_][A-Za-z0-9._:@/-]*$/;

/** Controls, unassigned characters, half surrogates, line and paragraph separators, and what turns the direction of writing. */
const unprintable = /[\p{C}\p{Zl}\p{Zp}]/u;

/** One complaint about one field; the path is as in the proto: "labels[env]". */
export interface Complaint {
  readonly field: string;
  readonly description: string;
}

/** What is wrong with `id` as a task id; undefined when nothing is. */
export function checkTaskId(id: string): string | undefined {
  if (taskIdPattern.test(id)) return undefined;
  if (id === "") return "must be set";
  return `must be 1 to 128 letters, digits and ._:@- with a letter or digit first, not ${quoteInput(id)}`;
}

/** What is wrong with `name` as the name of a controller; undefined when nothing is. */
export function checkControllerName(name: string): string | undefined {
  if (controllerNamePattern.test(name)) return undefined;
  if (name === "") return "must be set";
  return `must be 1 to 63 lower case letters, digits and - with a letter or digit first, not ${quoteInput(name)}`;
}

/** What is wrong with a request id or a run id: at most `maxBytes` bytes, printable. Empty is none, and fine. */
export function checkRequestId(id: string, maxBytes: number): string | undefined {
  const bytes = byteLength(id);
  if (bytes > maxBytes) return `must be at most ${maxBytes} bytes, and has ${bytes}`;
  if (unprintable.test(id)) return `must be printable characters only, not ${quoteInput(id)}`;
  return undefined;
}

/** What is wrong with free text: too long, or not well-formed UTF-16. */
export function checkText(text: string, maxBytes: number): string | undefined {
  if (!text.isWellFormed()) return "must be well-formed text, and has half of a surrogate pair";
  const bytes = byteLength(text);
  return bytes > maxBytes ? `must be at most ${maxBytes} bytes, and has ${bytes}` : undefined;
}

/** Everything that is wrong with `labels`; too many of them is one complaint. */
export function checkLabels(
  labels: Readonly<Record<string, string>>,
  limits: TaskLimits,
  field = "labels",
): Complaint[] {
  const entries = Object.entries(labels);
  if (entries.length > limits.labelsMax) {
    return [{ field, description: `must be at most ${limits.labelsMax} labels, and are ${entries.length}` }];
  }
  const complaints: Complaint[] = [];
  for (const [key, value] of entries) {
    const keyComplaint = checkLabelKey(key, limits.labelKeyMaxBytes);
    const path = keyComplaint === undefined ? `${field}[${key}]` : `${field}[${quoteInput(key, 32)}]`;
    if (keyComplaint !== undefined) complaints.push({ field: path, description: keyComplaint });
    const valueComplaint = checkText(value, limits.labelValueMaxBytes);
    if (valueComplaint !== undefined) complaints.push({ field: path, description: `the value ${valueComplaint}` });
  }
  return complaints;
}

function checkLabelKey(key: string, maxBytes: number): string | undefined {
  const bytes = byteLength(key);
  if (bytes > maxBytes) return `the key must be at most ${maxBytes} bytes, and has ${bytes}`;
  // As the key of a plain object this one is not data.
  if (labelKeyPattern.test(key) && key !== "__proto__") return undefined;
  return "the key must be letters, digits and ._:@/- with a letter, digit or _ first";
}
