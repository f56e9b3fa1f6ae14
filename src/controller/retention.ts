/**
 * Cleans the records of ended tasks and of old request ids, oldest first, in
 * pages: each step deletes a bounded number and gives way to whatever else wants the store.
 */
import { sleep } from "../clock.ts";
import { endedPrefix, parseIndexKey } from "../store/keys.ts";
import { type Entry, getMarked } from "../store/store.ts";
import { commit, untilDone } from "./commit.ts";
import { cleanTask, type Due } from "./delete-task.ts";
import { ControllerError } from "./error.ts";
import type { Parts } from "./parts.ts";
import { sweepRequests } from "./requests.ts";

/** What is kept of tasks that have ended. */
export interface Retention {
  /** How long after its end a task is kept, in ms; swept while the controller is open. Undefined: until the controller is opened next. */
  readonly afterEndMs?: number | undefined;
}

const pageSize = 128;
const sweepIntervalMs = 10_000;

/** Sweeps until the controller closes. */
export async function sweepForever(parts: Parts, retention: Retention): Promise<void> {
  const { core } = parts;
  while (!core.closing.aborted) {
    try {
      if (retention.afterEndMs !== undefined)
        await sweepTasks(parts, { endedBeforeMs: core.clock.wall() - retention.afterEndMs });
      while (!core.closing.aborted && (await sweepRequests(core)));
    } catch (error) {
      if (!core.closing.aborted)
        core.faults.note("background_errors", { err: error }, "a sweep of ended tasks failed; it is tried again");
    }
    await sleep(core.clock, sweepIntervalMs, core.closing);
  }
}

/** Cleans every task that is due and whose runner was told. */
export async function sweepTasks(parts: Parts, when: Due): Promise<void> {
  const { core } = parts;
  let after: string | undefined;
  while (!core.closing.aborted) {
    const page = await untilDone(core, () =>
      core.store.scan({ prefix: endedPrefix(core.name), after, limit: pageSize }),
    );
    const due = page.filter((entry) => parseIndexKey(entry.key).timeMs <= when.endedBeforeMs);
    await Promise.all(due.map((entry) => sweepEntry(parts, entry, when)));
    if (due.length < pageSize) break;
    after = page.at(-1)?.key;
  }
}

async function sweepEntry(parts: Parts, entry: Entry, when: Due): Promise<void> {
  const { core } = parts;
  const { taskId } = parseIndexKey(entry.key);
  try {
    if (await cleanTask(parts, taskId, when)) return;
    // An entry that its task does not have leads nowhere; it was left by a damaged record that was deleted.
    const isStale = await parts.actors.use(taskId, (actor) =>
      actor.serialize(async () => (await actor.load("until-done")).task === undefined),
    );
    const isLeft = isStale && (await untilDone(core, () => getMarked(core.store, entry.key))) !== undefined;
    if (isLeft) await commit(core, [{ type: "unindex", key: entry.key }], [], "until-done");
  } catch (error) {
    if (!(error instanceof ControllerError) || (error.code !== "DATA_LOSS" && error.code !== "ABORTED")) throw error;
  }
}
