/**
 * The one way to disk. Everything a controller writes goes through `commit`,
 * which knows what to do when the store fails.
 *
 * 1. A resolved commit is on disk, once.
 * 2. After a failure that "maybe" was applied the store is brought back first and read: what was applied is
 *    not applied again, and nobody is told "no" before that is sure.
 * 3. A controller that has closed commits nothing more, and nobody waits on for a store that fails or does not answer.
 */
import { promised } from "../async/promised.ts";
import { type Change, type Condition, getMarked, type NextChanges, StoreError } from "../store/store.ts";
import type { Core } from "./core.ts";
import { ControllerError } from "./error.ts";

/** `once`: a failure that changed nothing is an error at once. `until-done`: it is tried until the controller has closed. */
export type CommitMode = "once" | "until-done";

type CommitCore = Pick<Core, "store" | "guard" | "lifetime">;

/**
 * Resolves to the commit's revision; `next` is that of Store.commit. Throws StoreError CONFLICT, or ControllerError UNAVAILABLE. One promise beside the store's
 * own, unless the store fails: all that is done to a task waits here several times.
 */
export function commit(
  core: CommitCore,
  changes: readonly Change[],
  conditions: readonly Condition[],
  mode: CommitMode,
  next?: NextChanges,
): Promise<bigint> {
  core.lifetime.check();
  const committing = promised(() => core.store.commit(changes, conditions, next));
  return core.lifetime.within(committing, (error) => commitAgain(core, { changes, conditions, next, mode }, error));
}

interface Failed {
  readonly changes: readonly Change[];
  readonly conditions: readonly Condition[];
  readonly next: NextChanges | undefined;
  readonly mode: CommitMode;
}

/** Goes on with a commit that has failed. */
async function commitAgain(
  core: CommitCore,
  { changes, conditions, next, mode }: Failed,
  failed: unknown,
): Promise<bigint> {
  let failure = failed;
  for (;;) {
    if (!isUnavailable(failure)) throw failure;
    if (failure.applied === "no" && mode === "once") {
      void core.guard.recover(failure).catch(() => {});
      throw storeUnavailable(failure);
    }
    await recover(core, failure);
    if (failure.applied === "maybe") {
      const revision = await untilDone(core, () => appliedRevision(core, { changes, conditions, next }));
      if (revision !== undefined) return revision;
      if (mode === "once") throw storeUnavailable(failure);
    }
    core.lifetime.check();
    try {
      return await core.lifetime.within(core.store.commit(changes, conditions, next));
    } catch (error) {
      failure = error;
    }
  }
}

/** Runs a read until it does not fail because of the store. */
export async function untilDone<T>(core: CommitCore, read: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await core.lifetime.within(read());
    } catch (error) {
      if (!isUnavailable(error)) throw error;
      await recover(core, error);
    }
  }
}

/** Runs a read once; when the store fails, starts to bring it back and throws ControllerError UNAVAILABLE. */
export function once<T>(core: CommitCore, read: () => Promise<T>): Promise<T> {
  return core.lifetime.within(promised(read), async (error) => {
    if (!isUnavailable(error)) throw error;
    void core.guard.recover(error).catch(() => {});
    throw storeUnavailable(error);
  });
}

/** UNAVAILABLE, for a caller. */
export function storeUnavailable(cause: unknown): ControllerError {
  return new ControllerError("UNAVAILABLE", "the store cannot be used just now; nothing was changed, try again", {
    cause,
    reason: "STORE_UNAVAILABLE",
    retryDelayMs: 1_000,
  });
}

/** Runs what makes the answer of a call that has had its effect: an error must not say then that nothing was changed. */
export async function afterEffect<T>(answer: () => Promise<T>): Promise<T> {
  try {
    return await answer();
  } catch (error) {
    if (!(error instanceof ControllerError) || error.code !== "UNAVAILABLE") throw error;
    throw new ControllerError(
      "UNAVAILABLE",
      "the call has had its effect; the store failed before it could be answered",
      {
        ...error.details,
        cause: error,
      },
    );
  }
}

/** Somebody else was first: what was to be committed is looked at anew. */
export function isConflict(error: unknown): error is StoreError {
  return error instanceof StoreError && error.code === "CONFLICT";
}

function isUnavailable(error: unknown): error is StoreError {
  return error instanceof StoreError && error.code === "UNAVAILABLE";
}

async function recover(core: CommitCore, failure: unknown): Promise<void> {
  try {
    await core.lifetime.within(core.guard.recover(failure));
  } catch (error) {
    throw error instanceof ControllerError ? error : closedMeanwhile(error);
  }
}

/** UNAVAILABLE, for what was under way when the controller closed. */
export function closedMeanwhile(cause?: unknown): ControllerError {
  return new ControllerError("UNAVAILABLE", "the controller was closed meanwhile; the outcome is unknown", {
    cause,
    reason: "STORE_UNAVAILABLE",
    retryDelayMs: 1_000,
  });
}

/**
 * The revision under which `changes` are in the store, or undefined when they
 * are not. One change tells for all, as a commit is applied whole: the put that the commit is
 * conditional on (another may put what was there before, such as a payload that stays the same), else the first
 * that leaves something to be seen, else the first that takes something away.
 */
async function appliedRevision(
  core: CommitCore,
  { changes, conditions, next }: Omit<Failed, "mode">,
): Promise<bigint | undefined> {
  const conditionOf = (change: Change): Condition | undefined => conditions.find(({ key }) => key === change.key);
  const telling =
    changes.find((change) => change.type === "put" && conditionOf(change) !== undefined) ??
    changes.find((change) => change.type === "put") ??
    changes.find((change) => change.type === "index") ??
    changes.find((change) => change.type !== "add");
  if (telling === undefined) return core.store.revision();
  const entry = await getMarked(core.store, telling.key);
  // Nothing that was just written is damaged: it is what was there before.
  if (entry?.corrupt === true) return undefined;
  if (!isWritten(telling)) return entry === undefined ? core.store.revision() : undefined;
  if (entry === undefined || entry.revision === conditionOf(telling)?.revision) return undefined;
  if (sameBytes(entry.value, telling.value)) return entry.revision;
  // What follows puts the same key again.
  const first = entry.revision - 1n;
  const again = next?.(first).find(({ key }) => key === telling.key);
  return again !== undefined && isWritten(again) && sameBytes(entry.value, again.value) ? first : undefined;
}

function isWritten(change: Change): change is Extract<Change, { value: Uint8Array }> {
  return change.type === "put" || change.type === "index";
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
