import { describe, expect, test } from "vitest";
import { timestampMs } from "../../src/task/task.ts";
import { JsonText } from "../../src/json-text.ts";
import { openHarness } from "../support/controller-harness.ts";

describe("a task", () => {
  test("goes from Pending over Running to Completed as its phases return", async () => {
    await using h = await openHarness();
    h.runner.scripts.pending = "hold";
    const startMs = h.clock.wall();
    const launched = await h.launch("a", { metadata: { n: 1 }, labels: { env: "test" }, owner: "ann" });
    expect(launched).toMatchObject({ taskId: "a", outcome: "launched" });
    expect(launched.status).toMatchObject({
      state: 1,
      metadata: '{"n":1}',
      labels: { env: "test" },
      owner: "ann",
      attempt: 1,
    });
    expect(launched.status.runId).toBe(launched.runId);

    await h.clock.advance(1_000);
    expect(await h.state("a")).toBe("Pending");
    (await h.runner.phase("a", "pending")).return("not a result");
    const running = await h.runner.phase("a");
    expect(await h.state("a")).toBe("Running");

    await h.clock.advance(2_000);
    running.return({ ok: true });
    await h.settle();
    const status = await h.controller.taskStatus("a");
    expect(status.result).toBe('{"ok":true}');
    expect(await h.transitions("a")).toEqual(["Pending", "Running", "Completed"]);
    const times = [status.createTime, status.startTime, status.endTime].map((time) => timestampMs(time) - startMs);
    expect(times).toEqual([0, 1_000, 3_000]);
    expect(status.transitions.map((each) => timestampMs(each.timestamp) - startMs)).toEqual([0, 1_000, 3_000]);
  });

  test("is Failed by a throw in either phase, with what was thrown", async () => {
    await using h = await openHarness();
    h.runner.scripts.pending = "hold";
    await h.launch("a");
    await h.launch("b");
    (await h.runner.phase("a", "pending")).throw(new Error("no disk"));
    (await h.runner.phase("b", "pending")).return();
    (await h.runner.phase("b")).throw(new TypeError("no net"));
    await h.settle();
    const [a, b] = await Promise.all([h.controller.taskStatus("a"), h.controller.taskStatus("b")]);
    expect([a.error?.message, b.error?.message]).toEqual(["no disk", "no net"]);
    expect(a.error).toMatchObject({ code: 2, reason: "RUNNER_ERROR" });
    expect(await h.transitions("a")).toEqual(["Pending", "Failed"]);
    expect(await h.transitions("b")).toEqual(["Pending", "Running", "Failed"]);
    expect([a.startTime, a.result, b.result]).toEqual([undefined, undefined, undefined]);
  });

  test("is shown to nobody in a state that is not on disk", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const phase = await h.runner.phase("a");
    h.handle.cut();
    phase.return();
    await h.settle();
    expect((await h.stored("a"))?.status.state).toBe(2);
    await h.open();
    expect(await h.state("a")).not.toBe("Completed");
  });

  test("has each revision alone, and they rise with every change that can be seen", async () => {
    await using h = await openHarness();
    const revisions: bigint[] = [];
    const note = async (taskId: string): Promise<void> => {
      revisions.push((await h.controller.readTask(taskId)).revision);
    };
    revisions.push((await h.launch("a")).revision);
    const phase = await h.runner.phase("a");
    await note("a");
    revisions.push((await h.launch("b")).revision);
    await phase.task.setProgress({ current: 1 });
    await note("a");
    await phase.task.addLogEntry("info", "x");
    await note("a");
    phase.return();
    await h.settle();
    await note("a");
    expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => (a < b ? -1 : 1)));
  });

  test("whose status does not change keeps its revision", async () => {
    await using h = await openHarness({ concurrency: 1 });
    await h.launch("a");
    const b = await h.launch("b");
    await h.launch("c");
    await h.controller.queryTasks();
    (await h.runner.phase("a")).return();
    // b is offered now: that it waits no more is computed, and no change.
    await h.runner.phase("a", "running").catch(() => {});
    h.runner.scripts.running = "hold";
    const before = await h.controller.readTask("c");
    expect(before.status.waitingFor).toMatch(/1 places/);
    expect((await h.controller.readTask("c")).revision).toBe(before.revision);
    expect(b.status.waitingFor).toMatch(/1 places/);
    expect((await h.controller.readTask("b")).status.waitingFor).toBe("");
  });

  test("can be read as it was at a revision", async () => {
    await using h = await openHarness();
    const metadata = { text: "x".repeat(5_000) };
    const first = await h.launch("a", { metadata });
    (await h.runner.phase("a")).return("y".repeat(5_000));
    await h.settle();
    await h.launch("a");
    const then = await h.controller.readTask("a", { revision: first.revision });
    expect(then).toMatchObject({ revision: first.revision, status: { state: 1, metadata: JSON.stringify(metadata) } });
    await expect(h.controller.readTask("a", { revision: 10_000n })).rejects.toMatchObject({ code: "OUT_OF_RANGE" });
    await expect(h.controller.readTask("b", { revision: first.revision })).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect((await h.controller.readTask("a", { revision: 0n })).status.runId).not.toBe(then.status.runId);
  });

  test("that is not there is NOT_FOUND, and a bad id INVALID_ARGUMENT", async () => {
    await using h = await openHarness();
    const calls = [
      (id: string) => h.controller.taskStatus(id),
      (id: string) => h.controller.cancelTask(id),
      (id: string) => h.controller.deleteTask(id),
    ];
    for (const call of calls) {
      await expect(call("nobody")).rejects.toMatchObject({
        code: "NOT_FOUND",
        details: { resource: { type: "task", name: "tests/nobody" } },
      });
      await expect(call("../x")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
    await expect(h.launch("")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("leaves no timer behind when it has ended", async () => {
    await using h = await openHarness();
    await h.settle();
    const before = h.clock.pending();
    for (const id of ["a", "b", "c"]) await h.launch(id);
    for (const id of ["a", "b", "c"]) (await h.runner.phase(id)).return();
    await h.settle();
    expect(h.clock.pending()).toBe(before);
    for (const list of ["waiting", "leases", "released", "intents", "deliveries", "trash"])
      expect(await h.keys(`/${list}/`)).toEqual([]);
  });
});

describe("the context of a phase", () => {
  test("names the run, the attempt and the fence, the same in both phases", async () => {
    await using h = await openHarness();
    h.runner.scripts.pending = "hold";
    const { runId } = await h.launch("a");
    const pending = await h.runner.phase("a", "pending");
    expect(pending.context).toMatchObject({ runId, attempt: 1 });
    expect(pending.signal.aborted).toBe(false);
    pending.return();
    const running = await h.runner.phase("a");
    expect(running.context.fence).toBe(pending.context.fence);
    expect(running.context.fence).toBeGreaterThan(0n);
  });

  test("has a fence that was never used before, over restarts, relaunches and deletions", async () => {
    await using h = await openHarness();
    const fences: bigint[] = [];
    const note = async (): Promise<void> => {
      fences.push((await h.runner.phase("a")).context.fence);
    };
    await h.launch("a");
    await note();
    await h.reopen();
    await note();
    await h.crash();
    await note();
    (await h.runner.phase("a")).return();
    await h.settle();
    await h.launch("a");
    await note();
    (await h.runner.phase("a")).return();
    await h.settle();
    await h.controller.deleteTask("a");
    await h.launch("a");
    await note();
    expect(fences).toEqual([...new Set(fences)].sort((x, y) => (x < y ? -1 : 1)));
  });
});

describe("the result", () => {
  const cyclic: Record<string, unknown> = {};
  cyclic.self = cyclic;
  const results: ReadonlyArray<[what: string, value: unknown, result: string | undefined]> = [
    ["nothing", undefined, undefined],
    ["null", null, "null"],
    ["a number", 42, "42"],
    ["NaN, which JSON writes as null", Number.NaN, "null"],
    ["text", "ä\n", '"ä\\n"'],
    ["half of a surrogate pair", "\ud800", '"\\ud800"'],
    ["false", false, "false"],
    ["an array", [1, undefined], "[1,null]"],
    ["an object with toJSON", { toJSON: () => ({ a: 1 }) }, '{"a":1}'],
    ["JSON as text, byte for byte", new JsonText(' {"n": 12345678901234567890}'), ' {"n": 12345678901234567890}'],
    ["JSON as text within something else", [new JsonText('{"a": 1}')], '[{"a":1}]'],
    ["a date", new Date(0), '"1970-01-01T00:00:00.000Z"'],
    ["JSON above what is kept in the status", "x".repeat(50_000), `"${"x".repeat(50_000)}"`],
    ["as much as there may be", "x".repeat(256 * 1024 - 2), `"${"x".repeat(256 * 1024 - 2)}"`],
  ];
  test.each(results)("of %s is kept as JSON", async (_, value, result) => {
    await using h = await openHarness();
    await h.launch("a");
    (await h.runner.phase("a")).return(value);
    await h.settle();
    const status = await h.controller.taskStatus("a");
    expect([status.state, status.error, status.result]).toEqual([3, undefined, result]);
  });

  const bad: ReadonlyArray<[what: string, value: unknown, message: RegExp]> = [
    ["a cycle", cyclic, /JSON.*circular/],
    ["a bigint", 1n, /JSON.*BigInt/],
    ["a bigint inside", { a: [1n] }, /JSON.*BigInt/],
    ["a function", () => {}, /function/],
    ["a symbol", Symbol("s"), /symbol/],
    ["one byte too many", "x".repeat(256 * 1024 - 1), /262145 bytes as JSON; at most 262144/],
    ["one byte too many of text", new JsonText(`"${"x".repeat(256 * 1024 - 1)}"`), /262145 bytes as JSON/],
    ["too many bytes in few characters", "€".repeat(100 * 1024), /bytes as JSON/],
    [
      "a getter that throws",
      {
        get a(): never {
          throw new Error("getter");
        },
      },
      /JSON.*getter/,
    ],
    [
      "toJSON that throws undefined",
      {
        toJSON: () => {
          throw undefined;
        },
      },
      /JSON/,
    ],
    ["toJSON that gives nothing", { toJSON: () => undefined }, /object/],
  ];
  test.each(bad)("that is %s fails the task, and says why", async (_, value, message) => {
    await using h = await openHarness();
    await h.launch("a");
    (await h.runner.phase("a")).return(value);
    await h.settle();
    const status = await h.controller.taskStatus("a");
    expect(status).toMatchObject({ state: 4, error: { code: 3, reason: "RUNNER_ERROR" } });
    expect(status.result).toBeUndefined();
    expect(status.error?.message).toMatch(message);
  });

  test("is not, as metadata are, refused for a number that JSON has not", async () => {
    await using h = await openHarness();
    await expect(h.launch("a", { metadata: { rows: Number.NaN } })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining('JSON has no number NaN, which "rows" has') as string,
    });
    expect(await h.keys("/tasks/")).toEqual([]);
  });

  test("that was large is gone with the next run", async () => {
    await using h = await openHarness();
    await h.launch("a", { metadata: { text: "m".repeat(9_000) } });
    (await h.runner.phase("a")).return("x".repeat(9_000));
    await h.settle();
    expect(await h.keys("/payloads/")).toHaveLength(2);
    const { status } = await h.launch("a");
    expect([status.result, status.metadata]).toEqual([undefined, ""]);
    expect(await h.keys("/payloads/")).toEqual([]);
  });
});
