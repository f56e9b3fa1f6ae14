import { describe, expect, test } from "vitest";
import { Executing } from "../../src/controller/executing.ts";
import { openController } from "../../src/controller/open-controller.ts";
import type { TaskRunner } from "../../src/controller/task-runner.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import { StateCanceled, StateCompleted, StatePending } from "../../src/task/state.ts";
import { type Harness, openHarness } from "../support/controller-harness.ts";

describe("a run that does not stop in time, of a controller that is opened again in the process,", () => {
  /** One store, as of one process, with a run that its closed controller has left. */
  async function leave(h: Harness, nextRunner: TaskRunner = h.runner) {
    const { disk: store, clock, runner } = h;
    const options = { name: "again", store, clock, runner, closeGraceMs: 10, retention: { afterEndMs: 3_600_000 } };
    const first = await openController(options);
    await first.launchTask("left");
    const old = await runner.phase("left");
    const closing = first.close();
    await clock.advance(10);
    await closing;
    const second = await openController({ ...options, runner: nextRunner });
    await clock.advance(60_000);
    return { old, second };
  }

  test("has none beside it", async () => {
    await using h = await openHarness();
    const { old, second } = await leave(h);
    expect(h.runner.calls("left")).toEqual(["pending 1", "running 1"]);
    old.stop();
    const next = await h.runner.phase("left");
    expect([next.context.attempt, next.context.runId]).toEqual([2, old.context.runId]);
    next.return();
    await h.settle();
    await second.close();
  });

  test("has none beside it, and stays Pending, also where the runner does nothing in that phase", async () => {
    await using h = await openHarness();
    const begun: number[] = [];
    const { old, second } = await leave(h, { onTaskRunning: (_, { attempt }) => begun.push(attempt) });
    expect([begun, (await second.taskStatus("left")).state]).toEqual([[], StatePending]);
    old.stop();
    await h.settle();
    expect([begun, (await second.taskStatus("left")).state]).toEqual([[2], StateCompleted]);
    await second.close();
  });

  test("holds up no cancel of the next", async () => {
    await using h = await openHarness();
    const { old, second } = await leave(h);
    await second.cancelTask("left");
    await h.settle();
    const { state, cancel } = await second.taskStatus("left");
    expect(state).toBe(StateCanceled);
    // What is left never heard of it.
    expect(cancel?.acknowledgedAt).toBeUndefined();
    old.stop();
    await h.settle();
    expect(h.runner.calls("left")).toEqual(["pending 1", "running 1", "completed 2"]);
    await second.close();
  });
});

test("a phase is known until it settles, whatever else of its controller settles before, to all controllers of the name on its store", async () => {
  const store = await openMemoryStore();
  const [first, second, other] = ["name", "name", "other"].map((name) => new Executing(store, name));
  let settle = (): void => {};
  const left = new Promise<void>((resolve) => {
    settle = resolve;
  });
  const tracked = first!.track("left", left);
  await second!.track("task", Promise.resolve());
  expect([first, second, other].map((each) => each!.get("left"))).toEqual([left, left, undefined]);
  expect(new Executing(await openMemoryStore(), "name").get("left")).toBeUndefined();
  settle();
  await tracked;
  expect(second!.get("left")).toBeUndefined();
});
