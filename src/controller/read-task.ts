import { StoreError } from "../store/store.ts";
import { checkTaskId } from "../task/ids.ts";
import { once } from "./commit.ts";
import type { ReadOptions, TaskSnapshot } from "./controller.ts";
import { refuseBadFields, taskNotFound } from "./error.ts";
import { historyGone, liesAhead } from "./history.ts";
import { checkOpen, type Parts, snapshot } from "./parts.ts";
import { type Folding, foldStatus, loadTask } from "./task-reader.ts";

const logLimitMax = 1_000;

/** See Controller.readTask. */
export async function readTask(parts: Parts, taskId: string, options: ReadOptions): Promise<TaskSnapshot> {
  checkOpen(parts);
  refuseBadFields({ task_id: checkTaskId(taskId) });
  const { without = [] } = options;
  const folding: Folding = {
    metadata: !without.includes("metadata"),
    result: !without.includes("result"),
    logs: Math.min(options.logLimit ?? 100, logLimitMax),
  };
  const { core } = parts;
  const { revision = 0n } = options;
  if (revision > 0n) return readAsOf(parts, taskId, revision, folding);
  const loaded = await once(core, () => loadTask(core, taskId));
  return snapshot(parts, taskId, { task: loaded?.task, revision: loaded?.revision ?? 0n }, folding);
}

async function readAsOf(parts: Parts, taskId: string, revision: bigint, folding: Folding): Promise<TaskSnapshot> {
  const { core } = parts;
  try {
    const loaded = await once(core, () => loadTask(core, taskId, revision));
    if (loaded === undefined) throw taskNotFound(core.name, taskId);
    const status = await once(core, () => foldStatus(core, taskId, loaded, folding, revision));
    if (status === undefined) throw taskNotFound(core.name, taskId);
    return { status, revision: loaded.revision };
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    if (error.code === "FUTURE") throw liesAhead("revision", revision ?? 0n, core.store.revision());
    if (error.code !== "COMPACTED") throw error;
    const first = error.firstRevision ?? core.store.firstRevision();
    throw historyGone(`at revision ${revision}`, first, { advice: "read at that or a later one", cause: error });
  }
}
