/** The thread of the handlers, with a session that is the test. */
import { describe, expect, test } from "vitest";
import { AbortReason as WireReason, type PhaseEnd, RunPhase } from "#gen/stint/v1/runner_pb.js";
import { heldRunner, openHosted } from "./support/hosted-harness.ts";

const { RUNNING, COMPLETED } = RunPhase;
const { CANCEL, RESTART, TIMEOUT } = WireReason;

describe("a task", () => {
  test("is accepted when its handler is called, and its end goes out behind all that was said", async () => {
    const { runner, held } = heldRunner();
    const h = openHosted(runner);
    await h.offer(5n);
    expect(h.said()).toEqual(["accept 1", "end 1 done"]);
    await h.answer(5n, 1n);
    await h.offer(5n, RUNNING);
    const written: string[] = [];
    void held.task?.setProgress({ current: 1 }).then(() => written.push("progress"));
    await h.settle();
    void held.task?.addLogEntry("info", "one").then(() => written.push("one"));
    held.return("x");
    await h.settle();
    expect(h.said().slice(2)).toEqual(["accept 2", "write 2", "write 3", "end 4 done"]);
    await h.answer(5n, 2n);
    expect(written).toEqual(["progress"]);
    await h.answer(5n, 4n);
    expect(written).toEqual(["progress", "one"]);
  });

  test("has one write under way; what is said meanwhile is the next, with the newest progress", async () => {
    const { runner, held } = heldRunner();
    const h = openHosted(runner);
    await h.run(5n);
    const written: number[] = [];
    for (const current of [1, 2, 3, 4]) {
      void held.task?.setProgress({ current }).then(() => written.push(current));
      void held.task?.addLogEntry("info", `${current}`);
      await h.settle();
    }
    expect(h.said()).toEqual(["write 2"]);
    await h.answer(5n, 2n);
    expect(h.said()).toEqual(["write 2", "write 3"]);
    const last = h.posted.at(-1);
    expect(last?.type === "write" ? last.write : undefined).toMatchObject({
      progress: { current: 4n },
      entries: ["2", "3", "4"].map((msg) => ({ msg })),
    });
    expect(written).toEqual([1]);
    await h.answer(5n, 3n);
    expect(written).toEqual([1, 2, 3, 4]);
  });

  test("keeps one promise for all that wait for their progress, however many do not await it in an outage", async () => {
    const { runner, held } = heldRunner();
    const h = openHosted(runner);
    await h.run(5n);
    const { task } = held;
    if (task === undefined) throw new Error("no task was run");
    const say = (current: number): Promise<void> => task.setProgress({ current });
    const first = say(0);
    await h.settle();
    // The answer does not come.
    const waiting = Array.from({ length: 1_000 }, (_, current) => say(current));
    expect(new Set([first, ...waiting]).size).toBe(2);
    expect(await task.setProgress({ current: -1 }).catch((error: { code: string }) => error.code)).toBe(
      "INVALID_ARGUMENT",
    );
    await h.answer(5n, 2n);
    await h.answer(5n, 3n);
    await Promise.all(waiting);
    expect(h.said()).toEqual(["write 2", "write 3"]);
  });

  test("refuses log entries beyond what may wait, and what is said when it is over", async () => {
    const { runner, held } = heldRunner();
    const h = openHosted(runner);
    await h.run(5n);
    const say = (): Promise<unknown> | undefined =>
      held.task?.addLogEntry("info", "x").catch((error: unknown) => error);
    const said = Array.from({ length: 10_001 }, say);
    expect(await said.at(-1)).toMatchObject({ code: "RESOURCE_EXHAUSTED", details: { reason: "LIMIT" } });
    held.return();
    await h.settle();
    expect(await say()).toMatchObject({ code: "FAILED_PRECONDITION", details: { reason: "STALE_FENCE" } });
    // 10,000 entries in writes of 256, and the end.
    expect(h.said()).toHaveLength(41);
  });

  test("has a progress of its own: what a handler does to the one that it got reaches nothing", async () => {
    const { runner, held } = heldRunner();
    const h = openHosted(runner);
    await h.run(5n, { status: { progress: { current: 3n } } });
    const change = async (): Promise<void> => {
      const progress = await held.task?.getProgress();
      if (progress !== undefined) progress.current = 99n;
    };
    await change();
    expect((await held.task?.getProgress())?.current).toBe(3n);
    void held.task?.setProgress({ current: 4 });
    await change();
    await h.settle();
    expect((await held.task?.getProgress())?.current).toBe(4n);
  });

  test("goes on when something it said is refused, and fails when that is its end", async () => {
    const { runner, held } = heldRunner();
    const h = openHosted(runner);
    await h.run(5n);
    const written = held.task?.setProgress({ current: 1 });
    await h.settle();
    const error = { code: 3, message: "too much" };
    await h.answer(5n, 2n, error);
    await expect(written).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: "too much" });
    held.return("x");
    await h.settle();
    await h.answer(5n, 3n, error);
    expect(h.said()).toEqual(["write 2", "end 3 done", "end 4 failed"]);
  });

  test("that was lost is stopped; its writes are rejected and its outcome dropped", async () => {
    const { runner, held, kind } = heldRunner();
    const h = openHosted(runner);
    await h.run(5n);
    const said = held.task?.setProgress({ current: 1 }).catch((error: { details: object }) => error.details);
    await h.settle();
    h.receive({ type: "lost", fence: 5n });
    expect([kind(), await said]).toEqual(["LOST_FENCE", { reason: "STALE_FENCE" }]);
    await expect(held.task?.getProgress()).rejects.toMatchObject({ details: { reason: "STALE_FENCE" } });
    held.return("too late");
    await h.settle();
    expect(h.said()).toEqual(["write 2"]);
    expect(h.warnings).toEqual(["a task is not this runner's any more; its handler is told to stop"]);
  });

  test("is told once, and answers each time it is asked", async () => {
    const { runner, held, kind } = heldRunner();
    const h = openHosted(runner);
    await h.run(5n);
    await h.abort(5n, CANCEL);
    await h.abort(5n, CANCEL);
    expect([h.said(), kind()]).toEqual([["aborted 1", "aborted 1"], "CANCEL"]);
    held.throw(held.context?.signal.reason);
    await h.settle();
    await h.abort(5n, CANCEL);
    expect(h.said().slice(2)).toEqual(["end 2 aborted"]);
  });

  test.each([RESTART, TIMEOUT])(
    "is told of a cancel after reason %d, which its code finds in the signal, and answers each",
    async (reason) => {
      const { runner, held, kind } = heldRunner();
      const h = openHosted(runner);
      await h.run(5n);
      await h.abort(5n, reason);
      const first: unknown = held.context?.signal.reason;
      await h.abort(5n, CANCEL);
      await h.abort(5n, reason);
      expect([h.said(), kind()]).toEqual([[`aborted ${reason}`, "aborted 1", `aborted ${reason}`], "CANCEL"]);
      held.throw(first);
      await h.settle();
      expect(h.said().at(-1)).toBe("end 2 aborted");
    },
  );

  test.each<[string, WireReason, string | undefined]>([
    ["a cancel", CANCEL, "CANCEL"],
    ["a relaunch", RESTART, "RESTART"],
    ["a timeout of the phase before", TIMEOUT, undefined],
  ])("%s that comes between the phases is heard as it should be", async (_what, reason, expected) => {
    const { runner, kind } = heldRunner();
    const h = openHosted(runner);
    await h.offer(5n);
    await h.abort(5n, reason);
    await h.offer(5n, RUNNING);
    expect(kind()).toBe(expected);
  });

  test("a pending phase that was timed out and returns goes on with a signal of its own", async () => {
    const signals: AbortSignal[] = [];
    let finish = (): void => {};
    const h = openHosted({
      onTaskPending(_task, { signal }) {
        signals.push(signal);
        return new Promise<void>((resolve) => (finish = resolve));
      },
      onTaskRunning: (_task, { signal }) => void signals.push(signal),
    });
    await h.offer(5n);
    await h.abort(5n, TIMEOUT);
    finish();
    await h.settle();
    await h.offer(5n, RUNNING);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
    expect(h.said()).toEqual(["accept 1", "aborted 3", "end 1 done", "accept 2", "end 2 done"]);
  });
});

describe("the end of a phase", () => {
  const thrown = { aborts: (signal: AbortSignal) => signal.reason as unknown, throws: () => new Error("other") };
  const table: ReadonlyArray<[string, "returns" | keyof typeof thrown, PhaseEnd["outcome"]["case"]]> = [
    ["nothing", "returns", "done"],
    ["nothing", "throws", "failed"],
    ["CANCEL", "returns", "done"],
    ["CANCEL", "aborts", "aborted"],
    ["CANCEL", "throws", "failed"],
    ["TIMEOUT", "aborts", "aborted"],
    ["RESTART", "aborts", "aborted"],
    ["SHUTDOWN", "returns", "done"],
    ["SHUTDOWN", "aborts", "released"],
    ["SHUTDOWN", "throws", "released"],
  ];

  test.each(table)("after %s, when the handler %s, is %s", async (told, how, expected) => {
    const { runner, held } = heldRunner();
    const h = openHosted(runner, { drainMs: 0 });
    await h.run(5n);
    if (told === "SHUTDOWN") h.hosted.stop();
    else if (told !== "nothing") await h.abort(5n, { CANCEL, TIMEOUT, RESTART }[told] ?? CANCEL);
    if (how === "returns") held.return("x");
    else held.throw(thrown[how](held.context?.signal ?? AbortSignal.abort()));
    await h.settle();
    expect(h.said().at(-1)).toBe(`end 2 ${expected}`);
  });

  test("with a result that is no JSON, or too large, is a failure", async () => {
    for (const result of [1n, "x".repeat(256 * 1024)]) {
      const { runner, held } = heldRunner();
      const h = openHosted(runner);
      await h.run(5n);
      held.return(result);
      await h.settle();
      const last = h.posted.at(-1);
      const outcome = last?.type === "end" ? last.end.outcome : undefined;
      expect(outcome).toMatchObject({
        case: "failed",
        value: { error: { message: expect.stringContaining("result") } },
      });
    }
  });

  test("COMPLETED is told with the state and the error; nothing can be written then, and a throw is said and logged", async () => {
    const told: unknown[] = [];
    const h = openHosted({
      onTaskRunning: () => {},
      async onTaskCompleted(task, state, _context, error) {
        told.push(state, error?.message);
        await task.setProgress({ current: 1 });
      },
    });
    await h.offer(5n, COMPLETED, { status: { state: 4, error: { message: "why" } } });
    expect(told).toEqual([4, "why"]);
    expect(h.said()).toEqual(["accept 3", "end 1 failed"]);
    expect(h.warnings).toEqual(["onTaskCompleted threw"]);
  });

  test("COMPLETED that is not told within 30 s counts as told, and its handler is told to stop", async () => {
    const signals: AbortSignal[] = [];
    const h = openHosted({
      onTaskRunning: () => {},
      onTaskCompleted: (_task, _state, { signal }) => new Promise(() => signals.push(signal)),
    });
    await h.offer(5n, COMPLETED);
    await h.clock.advance(29_999);
    expect(h.said()).toEqual(["accept 3"]);
    await h.clock.advance(1);
    expect([h.said(), h.warnings]).toEqual([["accept 3", "end 1 failed"], ["onTaskCompleted threw"]]);
    // One that is lost before has no timer left.
    await h.offer(6n, COMPLETED);
    h.receive({ type: "lost", fence: 6n });
    expect(signals.map(({ reason }) => (reason as { kind?: string }).kind)).toEqual(["TIMEOUT", "LOST_FENCE"]);
    expect(h.clock.pending()).toBe(0);
  });
});
