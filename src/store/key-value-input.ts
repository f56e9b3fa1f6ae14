/** Checks of what callers of the typed view hand in; each throws KeyValueError INVALID_ARGUMENT. */
import { KeyValueError } from "./key-value-error.ts";

export function checkKey(key: string): void {
  checkText("a key", key);
  if (key === "") throw invalid("a key has at least one character");
}

export function checkText(what: string, text: string): void {
  if (typeof text !== "string" || !text.isWellFormed()) throw invalid(`${what} must be a well-formed string`);
}

export function checkRevision(revision: bigint | undefined): void {
  if (revision === undefined || (typeof revision === "bigint" && revision >= 0n)) return;
  throw invalid("a revision is a bigint from 0n up");
}

export function invalid(message: string): KeyValueError {
  return new KeyValueError("INVALID_ARGUMENT", message);
}
