/** The library as a program uses it: through src/index.ts alone. */
import { expect, test } from "vitest";
import * as stint from "../src/index.ts";

test("the library exports what the documentation names, and nothing by accident", () => {
  const names = Object.keys(stint).filter((name) => !name.startsWith("State"));
  expect(names.sort()).toEqual(
    [
      "AbortReason",
      "ControllerError",
      "Faults",
      "KeyValueError",
      "LogEntrySchema",
      "ProgressSchema",
      "StoreError",
      "TaskCancelSchema",
      "TaskErrorSchema",
      "TaskState",
      "TaskStatusSchema",
      "TaskTrigger",
      "compareKeys",
      "createKVStore",
      "createKeyValueStore",
      "createStoreGuard",
      "defaultControllerLimits",
      "faultKinds",
      "openController",
      "openStore",
      "silentLog",
      "systemClock",
      "systemRandom",
    ].sort(),
  );
  const { StateUnknown, StatePending, StateRunning, StateCompleted, StateFailed, StateCanceled } = stint;
  expect([StateUnknown, StatePending, StateRunning, StateCompleted, StateFailed, StateCanceled]).toEqual([
    0, 1, 2, 3, 4, 6,
  ]);
});

test("a program runs tasks in its own process, and finds them again when it has been started anew", async () => {
  const store = await stint.openStore("memory:");
  const runner: stint.TaskRunner = {
    async onTaskRunning(task, { signal }) {
      const { upTo = 0, waits } = (await task.loadTaskMetadata()) as { upTo?: number; waits?: boolean };
      for (let current = 1; current <= upTo; current += 1) {
        await task.setProgress({ current, total: upTo });
        await task.addLogEntry("info", `step ${current}`);
      }
      signal.throwIfAborted();
      if (waits)
        await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
      return { counted: upTo };
    },
  };
  const states: number[] = [];
  {
    await using controller = await stint.openController({ name: "counting", store, runner });
    const ended = new Promise<stint.TaskStatus>((resolve) => {
      const onState = (state: number): void => void states.push(state);
      void controller.launchTask("a", { metadata: { upTo: 3 }, onState, onStatus: resolve });
    });
    expect(await ended).toMatchObject({ state: stint.StateCompleted, result: '{"counted":3}', logCount: 3n });
    const launched = await controller.launchTask("b", { jsonMetadata: '{"upTo": 2, "waits": true}' });
    expect(typeof launched.revision).toBe("bigint");
    for await (const { status } of controller.watchTask("b")) if (status?.progress?.current === 2n) break;
    expect(await controller.listTasks()).toEqual(["a", "b"]);
    expect((await controller.queryTasks({ states: [stint.StateRunning] })).tasks.map((task) => task.taskId)).toEqual([
      "b",
    ]);
    await expect(controller.taskStatus("c")).rejects.toMatchObject({ code: "NOT_FOUND" });
  }
  expect(states).toEqual([stint.StateCompleted]);
  await using again = await stint.openController({ name: "counting", store, runner });
  // The library's default: what has ended is gone with the next opening.
  expect(await again.listTasks()).toEqual(["b"]);
  const canceled = await again.cancelTask("b", { reason: "enough", waitMs: 10_000 });
  expect(canceled.status).toMatchObject({ state: stint.StateCanceled, attempt: 2, progress: { current: 2n } });
  await again.deleteTask("b");
  const tasks = stint.createKVStore(store);
  expect(await tasks.listKeys("/tasks/")).toEqual([]);
  await again.close();
  await store.close();
});
