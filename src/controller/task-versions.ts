/**
 * The versions of a task in the store's history, and which of them are transitions. Each version names the
 * transition before it, so that they are found by walking back, whatever lies in between.
 */
import { taskKey } from "../store/keys.ts";
import { StoreError } from "../store/store.ts";
import { once } from "./commit.ts";
import { unlessDamaged } from "./error.ts";
import { compacted } from "./history.ts";
import type { Parts } from "./parts.ts";
import { type LoadedTask, loadTask } from "./task-reader.ts";

/** The revision of the newest transition of a version or before it; 0n for none. */
export function lastTransition({ task, revision }: Pick<LoadedTask, "task" | "revision">): bigint {
  return task.record.isTransition ? revision : task.record.previousTransitionRevision;
}

/** The revisions of the transitions after `since` up to the newest version, oldest first. */
export async function missedTransitions(
  parts: Parts,
  taskId: string,
  newest: LoadedTask,
  since: bigint,
): Promise<bigint[]> {
  const revisions: bigint[] = [];
  let version: LoadedTask | undefined = newest;
  while (version !== undefined) {
    const at = lastTransition(version);
    if (at === 0n || at <= since) break;
    revisions.push(at);
    const made: LoadedTask | undefined =
      at === version.revision && version.previous !== 0n ? version : await asOf(parts, taskId, at);
    version = made && (await before(parts, taskId, made, since));
  }
  return revisions.reverse();
}

/** The version that holds the transition before the one that `made` made; over a deletion, of the task before it. */
async function before(parts: Parts, taskId: string, made: LoadedTask, since: bigint): Promise<LoadedTask | undefined> {
  const { previousTransitionRevision } = made.task.record;
  if (previousTransitionRevision > since) return asOf(parts, taskId, previousTransitionRevision);
  const isCreation = previousTransitionRevision === 0n;
  return isCreation && made.previous > since + 1n ? beforeThat(parts, taskId, made.previous - 1n) : undefined;
}

/**
 * The last version of a task that was deleted after the position, or undefined: a watch that had not seen its end
 * shows that first, and from there the versions lead back, over earlier deletions too. Where the id has been
 * launched again meanwhile it is the version of that.
 */
export async function beforeDeletion(
  parts: Parts,
  taskId: string,
  position: { readonly revision: bigint; readonly isBlank: boolean },
): Promise<LoadedTask | undefined> {
  if (position.isBlank) return undefined;
  const { name, store } = parts.core;
  const last = await once(parts.core, () => store.get(taskKey(name, taskId), { deleted: true }));
  if (last === undefined || last.revision <= position.revision) return undefined;
  return beforeThat(parts, taskId, last.deleted === true ? last.revision - 1n : last.revision);
}

/** As `asOf`, for a task that was deleted: of a damaged one there is nothing to show. */
function beforeThat(parts: Parts, taskId: string, revision: bigint): Promise<LoadedTask | undefined> {
  return unlessDamaged(
    () => asOf(parts, taskId, revision),
    () => {},
  );
}

/** The task as of a revision. Throws OUT_OF_RANGE where that history is gone. */
export function asOf(parts: Parts, taskId: string, revision: bigint): Promise<LoadedTask | undefined> {
  return inHistory(parts, revision, () => loadTask(parts.core, taskId, revision));
}

/** Runs a read as of a revision. Throws OUT_OF_RANGE where that history is gone. */
export async function inHistory<T>(parts: Parts, revision: bigint, read: () => Promise<T>): Promise<T> {
  try {
    return await once(parts.core, read);
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== "COMPACTED") throw error;
    throw compacted(revision, error.firstRevision ?? parts.core.store.firstRevision());
  }
}
