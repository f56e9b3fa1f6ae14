import { expect, test } from "vitest";
import { TaskCounts } from "../../src/controller/task-counts.ts";
import { countKey } from "../../src/store/keys.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import type { Store } from "../../src/store/store.ts";
import { StateCompleted, StateRunning } from "../../src/task/state.ts";

const name = "counted";
const tasks = 3n;

/** A store of three running tasks, of which one ends, or is launched anew, each time that a counter is read, for so many times. */
async function openBusy(times: number): Promise<Pick<Store, "revision" | "scan" | "get">> {
  const store = await openMemoryStore();
  const move = (running: bigint, completed: bigint): Promise<bigint> =>
    store.commit([
      { type: "add", key: countKey(name, StateRunning), delta: running },
      { type: "add", key: countKey(name, StateCompleted), delta: completed },
    ]);
  await move(tasks, 0n);
  let left = times;
  let ended = 0n;
  return {
    revision: () => store.revision(),
    scan: (options) => store.scan(options),
    async get(key) {
      const isLate = left > 0 && key === countKey(name, StateCompleted);
      if (isLate) {
        left -= 1;
        ended = 1n - ended;
        await move(1n - 2n * ended, 2n * ended - 1n);
      }
      return store.get(key);
    },
  };
}

test.each([
  ["in the middle of a reading", 1],
  ["in the middle of each", 100],
])("the counts are of one moment where tasks change %s", async (_, times) => {
  const store = await openBusy(times);
  const counts = await new TaskCounts({ store, name }).read();
  expect([...counts.values()].reduce((sum, count) => sum + count, 0n)).toBe(tasks);
});
