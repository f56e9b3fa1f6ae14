/** How the thread of the handlers stops, with a session that is the test. */
import { describe, expect, test } from "vitest";
import { AbortReason, RunPhase } from "#gen/stint/v1/runner_pb.js";
import { heldRunner, openHosted } from "./support/hosted-harness.ts";

const { RUNNING, COMPLETED } = RunPhase;

describe("draining", () => {
  test("lets tasks go on for a time, then stops them, and leaves those that do not", async () => {
    const { runner, held, kind } = heldRunner();
    const h = openHosted(runner, { drainMs: 1_000 });
    await h.run(5n);
    h.hosted.drain();
    h.hosted.drain();
    expect(h.said()).toEqual(["drain"]);
    await h.clock.advance(999);
    expect(kind()).toBe(undefined);
    await h.clock.advance(1);
    expect(kind()).toBe("SHUTDOWN");
    const { reason } = held.context?.signal as { reason: Error };
    expect(reason.message).toBe("the runner is closing; the task is offered to others");
    await h.clock.advance(10_000);
    expect(h.said()).toEqual(["drain", "stop"]);
    expect(h.warnings).toHaveLength(1);
  });

  test("stops a task with a reason that a cancel still takes over", async () => {
    const { runner, held, kind } = heldRunner();
    const h = openHosted(runner);
    await h.run(5n);
    h.hosted.stop();
    await h.abort(5n, AbortReason.CANCEL);
    const { reason } = held.context?.signal as { reason: Error };
    expect([kind(), reason.message]).toEqual(["CANCEL", "the task was canceled"]);
  });

  test("gives back a task whose next phase would begin after it was to stop, without calling its handler", async () => {
    const { runner, held } = heldRunner();
    const h = openHosted(runner);
    await h.offer(5n);
    h.hosted.stop();
    await h.offer(5n, RUNNING);
    expect(h.said()).toEqual(["accept 1", "end 1 done", "drain", "accept 2", "end 2 released"]);
    expect(held.task).toBe(undefined);
  });

  test("gives back a task that was to stop for it after its first phase had taken too long, and returned", async () => {
    let finish = (): void => {};
    const onTaskPending = (): Promise<void> => new Promise((resolve) => (finish = resolve));
    const h = openHosted({ onTaskPending, onTaskRunning: () => {} });
    await h.offer(5n);
    await h.abort(5n, AbortReason.TIMEOUT);
    h.hosted.stop();
    finish();
    await h.settle();
    await h.offer(5n, RUNNING);
    expect(h.said().slice(2)).toEqual(["drain", "end 1 done", "accept 2", "end 2 released"]);
  });

  test.each([
    [
      "stops for it gives the end back, to be told to another",
      (signal: AbortSignal) => signal.reason as Error,
      "released",
    ],
    ["fails meanwhile has told it", () => new Error("no"), "failed"],
  ] as const)("an onTaskCompleted that %s", async (_what, thrown, outcome) => {
    const h = openHosted({
      onTaskRunning: () => {},
      onTaskCompleted: (_task, _state, { signal }) =>
        new Promise((_, reject) => signal.addEventListener("abort", () => reject(thrown(signal)))),
    });
    await h.offer(5n, COMPLETED);
    h.hosted.stop();
    await h.settle();
    expect(h.said().slice(1)).toEqual(["drain", `end 1 ${outcome}`]);
  });

  test("is over when the session says so; what is left then is lost", async () => {
    const { runner, kind } = heldRunner();
    const h = openHosted(runner);
    await h.run(5n);
    h.hosted.drain();
    h.receive({ type: "closed", error: { code: 9, message: "no" } });
    expect([kind(), h.closed, h.clock.pending()]).toEqual(["LOST_FENCE", [{ code: 9, message: "no" }], 0]);
  });

  test("does nothing when all is over already", () => {
    const h = openHosted(heldRunner().runner);
    h.receive({ type: "closed" });
    h.hosted.drain();
    h.hosted.stop();
    h.receive({ type: "closed" });
    expect([h.said(), h.clock.pending(), h.closed]).toEqual([[], 0, [undefined]]);
  });

  test("takes no task whose offer was on its way when it began", async () => {
    const { runner, held } = heldRunner();
    const h = openHosted(runner);
    await h.run(5n);
    h.hosted.drain();
    await h.offer(6n);
    expect(h.said()).toEqual(["drain"]);
    // Those there are go on.
    expect(held.context?.signal.aborted).toBe(false);
  });
});
