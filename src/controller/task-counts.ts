import type { TaskState } from "#gen/core/v1/core_pb.js";
import { countKey, statePrefix } from "../store/keys.ts";
import { StoreError } from "../store/store.ts";
import { allStates } from "../task/state.ts";
import { once } from "./commit.ts";
import type { Core } from "./core.ts";
import type { Parts } from "./parts.ts";

const pageSize = 1_000;

/** See Controller.countTasks. */
export async function countTasks(parts: Parts): Promise<Map<TaskState, bigint>> {
  return once(parts.core, () => readCounts(parts.core));
}

/**
 * The same, with what the store throws. Each counter is asked for by its key: those of a controller at work are in the store's cache, and
 * a scan would go over all the versions of them that LevelDB has not yet done away with, one for each second of work.
 */
export async function readCounts(core: Core): Promise<Map<TaskState, bigint>> {
  const found = await Promise.all(allStates.map(async (state) => [state, await readCount(core, state)] as const));
  return new Map(found.filter(([, count]) => count > 0n));
}

async function readCount(core: Core, state: TaskState): Promise<bigint> {
  try {
    const counter = await core.store.get(countKey(core.name, state));
    return counter === undefined ? 0n : new DataView(counter.value.buffer, counter.value.byteOffset).getBigInt64(0);
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== "CORRUPT") throw error;
    return countIndex(core, state);
  }
}

/** Where a counter is damaged the tasks are counted: slow, and right. */
async function countIndex(core: Core, state: TaskState): Promise<bigint> {
  const prefix = statePrefix(core.name, state);
  let count = 0n;
  let after: string | undefined;
  for (;;) {
    const page = await core.store.scan({ prefix, after, limit: pageSize });
    count += BigInt(page.length);
    if (page.length < pageSize) return count;
    after = page.at(-1)?.key;
  }
}
