import type { TaskState } from "#gen/core/v1/core_pb.js";
import { countKey, countPrefix, parseCountKey, statePrefix } from "../store/keys.ts";
import { StoreError } from "../store/store.ts";
import { allStates } from "../task/state.ts";
import { once } from "./commit.ts";
import type { Core } from "./core.ts";
import type { Parts } from "./parts.ts";

const pageSize = 1_000;
const keyedTries = 3;

/** See Controller.countTasks. */
export async function countTasks(parts: Parts): Promise<Map<TaskState, bigint>> {
  return once(parts.core, () => readCounts(parts.core));
}

/**
 * The same, with what the store throws; all of one revision. Each counter is asked for by its key: those of a controller at work are in the
 * store's cache, and a scan would go over all the versions of them that LevelDB has not yet done away with, one for each second of work.
 */
export async function readCounts(core: Core): Promise<Map<TaskState, bigint>> {
  for (let tries = 0; tries < keyedTries; tries += 1) {
    const revision = core.store.revision();
    const counts = await Promise.all(allStates.map(async (state) => [state, await readCount(core, state)] as const));
    // Where one was not in memory, others may be of later. Now all are, and the next time takes no wait.
    if (core.store.revision() === revision) return new Map(counts.filter(([, count]) => count > 0n));
  }
  return scanCounts(core);
}

/** The same as a snapshot, however busy the store is. */
async function scanCounts(core: Core): Promise<Map<TaskState, bigint>> {
  const counts = new Map<TaskState, bigint>();
  for (const entry of await core.store.scan({ prefix: countPrefix(core.name), limit: 16 })) {
    const state = parseCountKey(entry.key);
    const count = entry.corrupt ? await countIndex(core, state) : countIn(entry.value);
    if (count > 0n) counts.set(state, count);
  }
  return counts;
}

async function readCount(core: Core, state: TaskState): Promise<bigint> {
  try {
    const counter = await core.store.get(countKey(core.name, state));
    return counter === undefined ? 0n : countIn(counter.value);
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== "CORRUPT") throw error;
    return countIndex(core, state);
  }
}

function countIn(value: Uint8Array): bigint {
  return new DataView(value.buffer, value.byteOffset).getBigInt64(0);
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
