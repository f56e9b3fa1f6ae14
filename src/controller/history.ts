/** What is wrong with a revision that a watch is to go on from. */
import type { Store } from "../store/store.ts";
import { ControllerError } from "./error.ts";

/** Throws OUT_OF_RANGE for a revision that lies ahead, or (COMPACTED) whose history is gone; 0n is none. */
export function checkHistory(store: Store, since: bigint): void {
  if (since === 0n) return;
  if (since > store.revision()) throw liesAhead("since_revision", since, store.revision());
  if (since < store.firstRevision()) throw compacted(since, store.firstRevision());
}

/** OUT_OF_RANGE that names the field with a revision that there is not yet. */
export function liesAhead(field: string, asked: bigint, newest: bigint): ControllerError {
  const description = `${asked} lies ahead; the store is at ${newest}`;
  return new ControllerError("OUT_OF_RANGE", `${field} ${description}`, { violations: [{ field, description }] });
}

/** For a watch that is to go on from a revision whose history is gone. */
export function compacted(since: bigint, first: bigint): ControllerError {
  return historyGone(`at revision ${since}`, first, { advice: "watch again without since_revision" });
}

/** OUT_OF_RANGE (COMPACTED), naming the first revision there is, and what to do. */
export function historyGone(
  where: string,
  first: bigint,
  { advice, cause }: { readonly advice: string; readonly cause?: unknown },
): ControllerError {
  return new ControllerError(
    "OUT_OF_RANGE",
    `the history ${where} is gone; the first revision there is is ${first}: ${advice}`,
    { cause, reason: "COMPACTED", metadata: { first_revision: String(first) } },
  );
}
