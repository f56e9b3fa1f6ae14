/** Checks of what callers hand in; each throws StoreError INVALID. */
import { type Change, type ScanOptions, StoreError } from "./store.ts";

/** Above this many changes a set is quicker than comparing each with each. */
const fewChanges = 8;

export function checkText(what: string, text: string): void {
  if (typeof text !== "string" || !text.isWellFormed()) throw invalid(`${what} must be a well-formed string`);
}

export function checkKey(key: string): void {
  checkText("a key", key);
  if (key === "") throw invalid("a key has at least one character");
}

/** The revision as a number. One that no store ever reaches becomes the highest number there is. */
export function checkRevision(revision: bigint): number {
  if (typeof revision !== "bigint" || revision < 0n) throw invalid("a revision is a bigint from 0n up");
  return Number(revision > maxRevision ? maxRevision : revision);
}

const maxRevision = BigInt(Number.MAX_SAFE_INTEGER);

/** What a scan asks for. Its revision may still be one that the store does not have. */
export function checkScan({ prefix, after, limit, reverse, revision }: ScanOptions): void {
  checkText("prefix", prefix);
  if (after !== undefined) checkText("after", after);
  if (!Number.isSafeInteger(limit) || limit < 0) throw invalid(`limit must be a whole number, not ${limit}`);
  if (reverse && revision !== undefined) throw invalid("a scan as of a revision cannot be in reverse");
  if (revision !== undefined) checkRevision(revision);
}

/**
 * The changes of one commit: well-formed, and no key twice, but counters, and
 * an index entry that is taken out and put in again.
 */
export function checkChanges(changes: readonly Change[]): void {
  const seen = changes.length > fewChanges ? new Map<string, Change["type"]>() : undefined;
  for (let i = 0; i < changes.length; i += 1) {
    const change = changes[i]!;
    const { type, key } = change;
    checkKey(key);
    if ((type === "put" || type === "index") && !(change.value instanceof Uint8Array)) {
      throw invalid(`the value of ${JSON.stringify(key)} is not a Uint8Array`, key);
    }
    const before = seen === undefined ? lastTypeOf(changes, key, i) : seen.get(key);
    seen?.set(key, type);
    const isAgain = (before === "unindex" && type === "index") || (before === "add" && type === "add");
    if (before !== undefined && !isAgain) throw invalid(`${JSON.stringify(key)} is changed twice in one commit`, key);
  }
}

/** The changes of a commit that follows another at once, which it may not contradict. Returns them. */
export function checkNextChanges(changes: readonly Change[], next: readonly Change[]): readonly Change[] {
  checkChanges(next);
  for (const [i, { type, key }] of next.entries()) {
    const before = lastTypeOf(next, key, i) ?? lastTypeOf(changes, key, changes.length);
    if (before === undefined) continue;
    if (kindOf(before) !== kindOf(type)) throw invalid(`${JSON.stringify(key)} is not for "${type}"`, key);
    if (type === "index" && before === "index") throw invalid(`${JSON.stringify(key)} is indexed already`, key);
  }
  return next;
}

/** What kind of key a change is for. */
export function kindOf(type: Change["type"]): "versioned" | "counter" | "index" {
  if (type === "put" || type === "delete") return "versioned";
  return type === "add" ? "counter" : "index";
}

function lastTypeOf(changes: readonly Change[], key: string, before: number): Change["type"] | undefined {
  for (let i = before - 1; i >= 0; i -= 1) if (changes[i]!.key === key) return changes[i]!.type;
  return undefined;
}

export function invalid(message: string, key?: string): StoreError {
  return new StoreError("INVALID", message, key === undefined ? {} : { key });
}
