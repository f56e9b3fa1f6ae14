/** The host that is published for the tests of others' runners: it must judge as a controller does. */
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { Code } from "#gen/google/rpc/code_pb.js";
import type { AbortKind, TaskContext, TaskRunner } from "../../src/runner-client/testing.ts";
import { runTask, TaskState } from "../../src/runner-client/testing.ts";
import { openHarness } from "../support/controller-harness.ts";

const { Pending, Running, Completed, Failed, Canceled } = TaskState;

function untilAborted({ signal }: TaskContext): Promise<void> {
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
}

describe("runTask", () => {
  test("runs the phases with what the task has, and tells what was said and returned", async () => {
    const told: unknown[] = [];
    const runner: TaskRunner = {
      onTaskPending: (task, { attempt }) => void told.push(["pending", task.taskId, attempt]),
      async onTaskRunning(task) {
        const { limit } = await task.loadTaskMetadata(z.object({ limit: z.number() }));
        for (let step = Number((await task.getProgress())?.current) + 1; step <= limit; step += 1) {
          await Promise.all([task.setProgress({ current: step, total: limit }), task.addLogEntry("warn", `${step}`)]);
        }
        return { limit };
      },
      onTaskCompleted: (_task, state) => void told.push(["completed", state]),
    };
    const options = { metadata: { limit: 4 }, progress: { current: 2 }, attempt: 3, taskId: "mine" };
    expect(await runTask(runner, options).ended).toEqual({
      state: Completed,
      result: { limit: 4 },
      error: undefined,
      progress: [3n, 4n].map((current) => expect.objectContaining({ current, total: 4n }) as unknown),
      logs: [
        { level: 4, msg: "3" },
        { level: 4, msg: "4" },
      ],
      completedError: undefined,
    });
    expect(told).toEqual([
      ["pending", "mine", 3],
      ["completed", Completed],
    ]);
  });

  test("fails the task with what was thrown, with a schema's objections, and with a result that is not JSON", async () => {
    const errorOf = async (onTaskRunning: TaskRunner["onTaskRunning"]) => {
      const { state, error } = await runTask({ onTaskRunning }, { metadata: { a: 1 } }).ended;
      expect(state).toBe(Failed);
      return error;
    };
    const boom = (): never => {
      throw new Error("boom");
    };
    expect(await errorOf(boom)).toMatchObject({ code: Code.UNKNOWN, reason: "RUNNER_ERROR", message: "boom" });
    const schema = z.object({ a: z.string() });
    expect((await errorOf((task) => task.loadTaskMetadata(schema)))?.message).toMatch(/^metadata: /);
    expect((await errorOf(() => 1n))?.message).toMatch(/JSON/);
    expect((await errorOf((task) => task.setProgress({ current: -1 })))?.message).toMatch(/^progress.current: /);
  });

  test("gives a progress that the runner may change without changing what it said", async () => {
    const seen: unknown[] = [];
    const { progress } = await runTask(
      {
        async onTaskRunning(task) {
          for (const current of [4, 5]) {
            const got = await task.getProgress();
            seen.push(got?.current);
            if (got !== undefined) got.current = 99n;
            seen.push((await task.getProgress())?.current);
            await task.setProgress({ current });
          }
          await task.getProgress().then((got) => Object.assign(got ?? {}, { current: 99n }));
        },
      },
      { progress: { current: 3 } },
    ).ended;
    expect([seen, progress.map(({ current }) => current)]).toEqual([
      [3n, 3n, 4n, 4n],
      [4n, 5n],
    ]);
  });

  test("cancels by cancel() and by a signal, also a runner that writes all the time", async () => {
    const onTaskRunning: TaskRunner["onTaskRunning"] = async (task, { signal }) => {
      for (let current = 0; ; current += 1) {
        signal.throwIfAborted();
        await task.setProgress({ current });
      }
    };
    const task = runTask({ onTaskRunning });
    setTimeout(() => task.cancel(), 1);
    expect((await task.ended).state).toBe(Canceled);
    expect((await runTask({ onTaskRunning }, { signal: AbortSignal.abort() }).ended).state).toBe(Canceled);
  });

  test("throws at once where there is no runner, and for a kind of abort that is none", async () => {
    const noRunner = undefined as unknown as TaskRunner;
    expect(() => runTask(noRunner)).toThrow(new TypeError("runTask: the runner must have a function onTaskRunning"));
    const task = runTask({ onTaskRunning: () => "done" });
    expect(() => task.abort("NOPE" as AbortKind)).toThrow(
      new TypeError("abort: the kind must be one of CANCEL, SHUTDOWN, RESTART, LOST_FENCE, TIMEOUT"),
    );
    expect(() => task.abort("none" as AbortKind)).toThrow(TypeError);
    expect(await task.ended).toMatchObject({ state: Completed, result: "done" });
  });

  test("names no time in the error of a timeout, as none was set", async () => {
    const task = runTask({
      onTaskRunning: (_task, context) => untilAborted(context).then(() => context.signal.throwIfAborted()),
    });
    await new Promise((resolve) => setImmediate(resolve));
    task.abort("TIMEOUT");
    const { error } = await task.ended;
    expect(error).toMatchObject({ code: Code.DEADLINE_EXCEEDED, reason: "TIMEOUT" });
    expect(error?.message).toBe("the running phase took longer than it may, and was told to stop");
  });

  test("rejects what is said after the end, and gives what onTaskCompleted threw", async () => {
    const rejected: unknown[] = [];
    const { ended, logs } = runTask({
      onTaskRunning: () => {},
      async onTaskCompleted(task) {
        await task.addLogEntry("info", "late").catch((error: { code: string }) => rejected.push(error.code));
        throw new Error("in onTaskCompleted");
      },
    });
    expect(await ended).toMatchObject({ state: Completed, completedError: { message: "in onTaskCompleted" } });
    expect([rejected, logs]).toEqual([["FAILED_PRECONDITION"], []]);
  });

  const kinds = ["CANCEL", "TIMEOUT", "SHUTDOWN", "RESTART", "LOST_FENCE"] as const;
  const howItStops = {
    returns: () => "done",
    aborts: ({ signal }: TaskContext) => {
      throw signal.reason;
    },
    throws: () => {
      throw new Error("other");
    },
  };
  const expected: Record<AbortKind, readonly [TaskState, TaskState, TaskState]> = {
    CANCEL: [Completed, Canceled, Failed],
    TIMEOUT: [Completed, Failed, Failed],
    SHUTDOWN: [Completed, Running, Running],
    RESTART: [Running, Running, Running],
    LOST_FENCE: [Running, Running, Running],
  };

  test.each(kinds)("%s means to the running phase what it means to a controller", async (kind) => {
    const states = Object.values(howItStops).map(async (stop) => {
      const task = runTask({
        onTaskRunning: async (_task, context) => untilAborted(context).then(() => stop(context)),
      });
      await new Promise((resolve) => setImmediate(resolve));
      task.abort(kind);
      return (await task.ended).state;
    });
    expect(await Promise.all(states)).toEqual(expected[kind]);
  });

  test("a pending phase that returns goes on after a timeout, with a signal of its own, and ends after a cancel", async () => {
    const endOf = async (...kinds: readonly AbortKind[]) => {
      const task = runTask({
        onTaskPending: (_task, context) => untilAborted(context),
        onTaskRunning: (_task, { signal }) => signal.aborted,
      });
      await new Promise((resolve) => setImmediate(resolve));
      for (const kind of kinds) task.abort(kind);
      const { state, result } = await task.ended;
      return [state, result];
    };
    expect(await endOf("TIMEOUT")).toEqual([Completed, false]);
    expect(await endOf("CANCEL")).toEqual([Canceled, undefined]);
    expect(await endOf("SHUTDOWN")).toEqual([Pending, undefined]);
    // What else it was told holds.
    expect(await endOf("TIMEOUT", "SHUTDOWN")).toEqual([Pending, undefined]);
    expect(await endOf("TIMEOUT", "CANCEL")).toEqual([Canceled, undefined]);
  });

  test("judges a canceled task as the controller in this process does", async () => {
    await using h = await openHarness();
    for (const name of Object.keys(howItStops)) {
      await h.launch(name);
      const phase = await h.runner.phase(name);
      await h.controller.cancelTask(name);
      if (name === "returns") phase.return("done");
      else if (name === "aborts") phase.stop();
      else phase.throw(new Error("other"));
    }
    await h.settle();
    const states = Object.keys(howItStops).map(async (name) => (await h.controller.taskStatus(name)).state);
    expect(await Promise.all(states)).toEqual(expected.CANCEL);
  });
});
