import type { TaskState } from "#gen/core/v1/core_pb.js";
import { countPrefix, parseCountKey, statePrefix } from "../store/keys.ts";

import { once } from "./commit.ts";
import type { Core } from "./core.ts";
import type { Parts } from "./parts.ts";

const pageSize = 1_000;

/** See Controller.countTasks. */
export async function countTasks(parts: Parts): Promise<Map<TaskState, bigint>> {
  return once(parts.core, () => readCounts(parts.core));
}

/** The same, with what the store throws. */
export async function readCounts(core: Core): Promise<Map<TaskState, bigint>> {
  const counters = await core.store.scan({ prefix: countPrefix(core.name), limit: 16 });
  const counts = new Map<TaskState, bigint>();
  for (const counter of counters) {
    const state = parseCountKey(counter.key);
    const count = counter.corrupt
      ? await countIndex(core, state)
      : new DataView(counter.value.buffer, counter.value.byteOffset).getBigInt64(0);
    if (count > 0n) counts.set(state, count);
  }
  return counts;
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
