import type { TaskState } from "#gen/core/v1/core_pb.js";
import { countKey, countPrefix, parseCountKey, statePrefix } from "../store/keys.ts";
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
 * The same, with what the store throws; all of one revision. Each counter is asked for by its key: those of a controller at work are in the
 * store's cache, and a scan would go over all the versions of them that LevelDB has not yet done away with, one for each second of work.
 */
export async function readCounts(core: Core): Promise<Map<TaskState, bigint>> {
  // What had to be read from disk is in memory the second time, which takes no wait then.
  return (await readByKeys(core)) ?? (await readByKeys(core)) ?? scanCounts(core);
}

/** Undefined where the store has gone on meanwhile, so that they may be of several revisions, or where a counter is damaged. */
async function readByKeys({ store, name }: Core): Promise<Map<TaskState, bigint> | undefined> {
  const revision = store.revision();
  const counts = new Map<TaskState, bigint>();
  try {
    const entries = await Promise.all(allStates.map((state) => store.get(countKey(name, state))));
    for (const [i, state] of allStates.entries()) {
      const count = countIn(entries[i]?.value);
      if (count > 0n) counts.set(state, count);
    }
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== "CORRUPT") throw error;
    return undefined;
  }
  return store.revision() === revision ? counts : undefined;
}

/** A snapshot, however busy the store is. */
async function scanCounts(core: Core): Promise<Map<TaskState, bigint>> {
  const counts = new Map<TaskState, bigint>();
  for (const entry of await core.store.scan({ prefix: countPrefix(core.name), limit: 16 })) {
    const state = parseCountKey(entry.key);
    const count = entry.corrupt ? await countIndex(core, state) : countIn(entry.value);
    if (count > 0n) counts.set(state, count);
  }
  return counts;
}

function countIn(value: Uint8Array | undefined): bigint {
  return value === undefined ? 0n : new DataView(value.buffer, value.byteOffset).getBigInt64(0);
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
