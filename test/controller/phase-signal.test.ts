import { expect, test } from "vitest";
import type { TaskContext } from "../../src/controller/task-runner.ts";
import { openHarness } from "../support/controller-harness.ts";

test("the signal of a phase that took too long is its own, also for who looks at it for the first time when the next has begun", async () => {
  const contexts: TaskContext[] = [];
  const waiting: (() => void)[] = [];
  const wait = (_: unknown, context: TaskContext): Promise<void> => {
    contexts.push(context);
    return new Promise((resolve) => waiting.push(resolve));
  };
  await using h = await openHarness({
    pendingTimeoutMs: 500,
    runner: { onTaskPending: wait, onTaskRunning: wait },
  });
  await h.launch("a");
  await h.settle();
  await h.clock.advance(600);
  waiting[0]?.();
  await h.settle();
  expect(contexts.map(({ signal }) => signal.aborted)).toEqual([true, false]);
  waiting[1]?.();
  await h.settle();
  expect(await h.state("a")).toBe("Completed");
});

test("a runner in JavaScript may put another signal in its place", async () => {
  const found: unknown[] = [];
  const onTaskRunning = (_: unknown, context: { signal: AbortSignal }): void => {
    const own = context.signal;
    context.signal = AbortSignal.any([own]);
    found.push(own instanceof AbortSignal, context.signal === own);
  };
  await using h = await openHarness({ runner: { onTaskRunning } });
  await h.launch("a");
  await h.settle();
  expect([await h.state("a"), ...found]).toEqual(["Completed", true, false]);
});
