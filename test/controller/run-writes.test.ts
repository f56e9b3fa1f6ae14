import { describe, expect, test } from "vitest";
import { decodeLogChunk } from "../../src/store/codec.ts";
import { type Harness, observed, openHarness } from "../support/controller-harness.ts";
import { FaultPlan, FaultStore } from "../support/fault-store.ts";

/** All entries of a task's log that are on disk. */
async function entriesOf(h: Harness): Promise<Array<{ seq: bigint; msg: string }>> {
  const chunks = await h.disk.scan({ prefix: "/logs/", limit: 1_000_000 });
  return chunks.flatMap((chunk) => decodeLogChunk(chunk.value)).map(({ seq, msg }) => ({ seq, msg }));
}

describe("what a runner writes", () => {
  test("is on disk, with all that came before it, when it is acknowledged", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const { task } = await h.runner.phase("a");
    const problems: string[] = [];
    const writes: Array<Promise<void>> = [];
    const check = async (what: string, min: number, read: () => Promise<number>): Promise<void> => {
      const found = await read();
      if (found < min) problems.push(`${what} ${min} was acknowledged, and ${found} is on disk`);
    };
    for (let i = 1; i <= 200; i += 1) {
      writes.push(
        task
          .setProgress({ current: i })
          .then(() => check("progress", i, async () => Number((await h.stored("a"))?.status.progress?.current ?? 0))),
      );
      writes.push(
        task.addLogEntry("info", `entry ${i}`).then(() => check("entry", i, async () => (await entriesOf(h)).length)),
      );
      if (i % 7 === 0) await Promise.resolve();
      if (i % 31 === 0) await h.settle();
    }
    await Promise.all(writes);
    expect(problems).toEqual([]);
    expect((await entriesOf(h)).map((entry) => entry.msg)).toEqual(
      Array.from({ length: 200 }, (_, i) => `entry ${i + 1}`),
    );
  });

  test("fast costs few commits: while one is under way the next gathers", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const { task } = await h.runner.phase("a");
    await h.settle();
    const before = h.handle.commits;
    await Promise.all(
      Array.from({ length: 1_000 }, (_, i) => [
        task.setProgress({ current: i }),
        task.addLogEntry("info", String(i)),
      ]).flat(),
    );
    expect(h.handle.commits - before).toBeLessThanOrEqual(4);
    const status = await h.controller.taskStatus("a");
    expect([status.progress?.current, status.logCount]).toEqual([999n, 1_000n]);
  });

  test("waits while the store fails, with one warning, and is on disk when it is back, in order", async () => {
    const plan = new FaultPlan();
    await using h = await openHarness({ wrap: (store) => new FaultStore(store, plan) });
    await h.launch("a", { metadata: { text: "m".repeat(3_000) } });
    const { task } = await h.runner.phase("a");
    await h.settle();
    plan.add({ at: plan.operations + 1, kind: "refused", lasting: true });
    const calls = [
      task.setProgress({ current: 1 }),
      ...["one", "two", "three"].map((msg) => task.addLogEntry("info", msg)),
      task.setProgress({ current: 2 }),
      task.loadTaskMetadata(),
    ].map((call: Promise<unknown>) => observed(call));
    await h.clock.advance(3_600_000);
    expect(calls.map((call) => call.state())).toEqual(calls.map(() => "waiting"));
    expect(h.messages("warn")).toEqual(["the store fails; trying to bring it back"]);
    plan.heal();
    await h.clock.advance(5_000);
    expect(calls.map((call) => call.state())).toEqual(calls.map(() => "done"));
    expect(h.messages("warn")).toEqual(["the store fails; trying to bring it back", "the store is back"]);
    const status = await h.controller.taskStatus("a");
    expect(status.progress?.current).toBe(2n);
    expect(status.logs.map((entry) => entry.msg)).toEqual(["one", "two", "three"]);
  });

  test("of progress has one promise for all that wait, however many do not await it while the store fails", async () => {
    const plan = new FaultPlan();
    await using h = await openHarness({ wrap: (store) => new FaultStore(store, plan) });
    await h.launch("a");
    const { task } = await h.runner.phase("a");
    await h.settle();
    plan.add({ at: plan.operations + 1, kind: "refused", lasting: true });
    const first = task.setProgress({ current: 0 });
    await h.clock.advance(60_000);
    const waiting = Array.from({ length: 1_000 }, (_, current) => task.setProgress({ current }));
    const entry = task.addLogEntry("info", "one");
    const behind = Array.from({ length: 1_000 }, (_, current) => task.setProgress({ current }));
    expect(new Set([first, ...waiting, ...behind]).size).toBe(3);
    plan.heal();
    await h.clock.advance(60_000);
    await Promise.all([first, ...waiting, entry, ...behind]);
    expect((await h.controller.taskStatus("a")).progress?.current).toBe(999n);
  });

  test("and is not waited for is there when the phase has returned", async () => {
    await using h = await openHarness();
    h.runner.scripts.pending = (phase) => {
      void phase.task.addLogEntry("info", "pending");
      void phase.task.setProgress({ current: 1 });
    };
    h.runner.scripts.running = (phase) => {
      for (let i = 0; i < 5_000; i += 1) void phase.task.addLogEntry("info", "x".repeat(100));
      void phase.task.setProgress({ current: 2 });
      return "done";
    };
    await h.launch("a");
    await h.settle();
    const status = await h.controller.taskStatus("a");
    expect([status.state, status.progress?.current, status.logCount]).toEqual([3, 2n, 5_001n]);
    expect(await h.transitions("a")).toEqual(["Pending", "Running", "Completed"]);
  });

  test.each(["throws", "stops for a cancel", "is replaced"])(
    "and is not waited for is there when the runner %s",
    async (how) => {
      await using h = await openHarness();
      await h.launch("a");
      const phase = await h.runner.phase("a");
      if (how === "stops for a cancel") await h.controller.cancelTask("a");
      if (how === "is replaced") await h.launch("a");
      void phase.task.addLogEntry("info", "last");
      void phase.task.setProgress({ current: 5 });
      if (how === "throws") phase.throw(new Error("no"));
      else phase.stop();
      await h.settle();
      const status = await h.controller.taskStatus("a");
      expect([status.progress?.current, status.logs.map((entry) => entry.msg)]).toEqual([5n, ["last"]]);
    },
  );

  test("of log entries beyond what may wait is refused, and no process memory is lost to it", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const { task } = await h.runner.phase("a");
    const writes = await Promise.allSettled(
      Array.from({ length: 10_050 }, (_, i) => task.addLogEntry("info", String(i))),
    );
    const refused = writes.filter((write) => write.status === "rejected");
    expect(refused.length).toBe(50);
    expect(refused[0]?.reason).toMatchObject({ code: "RESOURCE_EXHAUSTED", details: { reason: "LIMIT" } });
    await task.addLogEntry("info", "again");
    expect((await h.controller.taskStatus("a", { logLimit: 1 })).logs[0]?.msg).toBe("again");
  });
});

describe("a log", () => {
  test("keeps its newest entries up to the limit, and counts the others; numbers go on without a gap", async () => {
    await using h = await openHarness({ limits: { logMaxEntries: 20 } });
    await h.launch("a");
    const { task } = await h.runner.phase("a");
    for (let i = 1; i <= 100; i += 1) {
      await task.addLogEntry("info", `entry ${i}`);
      const { logCount, logsDropped, logs } = await h.controller.taskStatus("a");
      expect(logCount).toBe(BigInt(i));
      const kept = Number(logCount - logsDropped);
      expect(kept).toBeLessThanOrEqual(20);
      expect(kept).toBeGreaterThanOrEqual(Math.min(i, 18));
      expect(logs.map((entry) => [entry.seq, entry.msg])).toEqual(
        Array.from({ length: kept }, (_, k) => [BigInt(i - kept + k + 1), `entry ${i - kept + k + 1}`]),
      );
    }
    expect((await h.keys("/logs/")).length).toBeLessThanOrEqual(20);
  });

  test("keeps its newest entries up to the limit of bytes", async () => {
    await using h = await openHarness({ limits: { logMaxBytes: 10_000 } });
    await h.launch("a");
    const { task } = await h.runner.phase("a");
    for (let i = 1; i <= 60; i += 1) {
      await task.addLogEntry("info", "€".repeat(i * 10));
      const { record, status } = (await h.stored("a")) ?? {};
      expect(record?.logBytes).toBeLessThanOrEqual(10_000n);
      expect(status?.logCount).toBe(BigInt(i));
    }
    const { logs, logsDropped } = await h.controller.taskStatus("a");
    expect(logsDropped).toBeGreaterThan(40n);
    expect(logs.at(-1)?.seq).toBe(60n);
  });

  test("keeps to the limit also where many entries come at once", async () => {
    await using h = await openHarness({ limits: { logMaxEntries: 500 } });
    await h.launch("a");
    const { task } = await h.runner.phase("a");
    for (let round = 0; round < 4; round += 1) {
      await Promise.all(Array.from({ length: 400 }, (_, i) => task.addLogEntry("info", `${round}-${i}`)));
      const { logCount, logsDropped } = await h.controller.taskStatus("a");
      expect(Number(logCount - logsDropped)).toBeLessThanOrEqual(500);
    }
    const { logs } = await h.controller.taskStatus("a", { logLimit: 1_000 });
    expect(logs.at(-1)).toMatchObject({ seq: 1_600n, msg: "3-399" });
  });

  test.each([
    ["entries", { logMaxEntries: 20 }],
    ["bytes", { logMaxBytes: 100 }],
  ])("keeps to a limit of %s that is below what comes at once, with its newest entries", async (_, limits) => {
    await using h = await openHarness({ limits });
    await h.launch("a");
    const { task } = await h.runner.phase("a");
    for (let round = 1; round <= 3; round += 1) {
      await Promise.all(Array.from({ length: 300 }, (_, i) => task.addLogEntry("info", `${round}-${100 + i}`)));
      const { logCount, logsDropped, logs } = await h.controller.taskStatus("a", { logLimit: 1_000 });
      expect([logCount, Number(logCount - logsDropped)]).toEqual([BigInt(round * 300), logs.length]);
      expect(logs.length).toBeGreaterThan(0);
      expect(logs.length).toBeLessThanOrEqual(20);
      expect(logs.at(-1)).toMatchObject({ seq: BigInt(round * 300), msg: `${round}-399` });
    }
    expect((await h.controller.taskLogs("a")).entries.map(({ msg }) => msg).at(-1)).toBe("3-399");
  });

  test("goes on over a crash, a relaunch after a failure, and is cut there too", async () => {
    await using h = await openHarness({ limits: { logMaxEntries: 10 } });
    h.runner.scripts.running = () => {
      throw new Error("no");
    };
    for (let i = 0; i < 30; i += 1) {
      await h.launch("a");
      await h.settle();
      if (i % 10 === 5) await h.crash();
    }
    const { logCount, logsDropped, logs } = await h.controller.taskStatus("a");
    expect(logCount).toBe(29n);
    expect(Number(logCount - logsDropped)).toBeLessThanOrEqual(10);
    expect(logs.at(-1)?.seq).toBe(29n);
  });

  test("shows the newest 100 entries unless told otherwise, 1,000 and 256 KiB at most", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const { task } = await h.runner.phase("a");
    await Promise.all(Array.from({ length: 1_500 }, (_, i) => task.addLogEntry("info", String(i))));
    const count = async (logLimit?: number) => (await h.controller.taskStatus("a", { logLimit })).logs.length;
    expect([await count(), await count(0), await count(1), await count(5_000), await count(-1)]).toEqual([
      100, 0, 1, 1_000, 0,
    ]);
    // Bytes, and not characters: both texts are of as many.
    for (const text of ["x".repeat(10_200), "\u20ac".repeat(3_400)]) {
      await Promise.all(Array.from({ length: 100 }, () => task.addLogEntry("info", text)));
      const { logs } = await h.controller.taskStatus("a");
      expect([logs.length, logs.at(-1)?.msg]).toEqual([25, text]);
    }
  });
});

test("transitions are kept up to the controller's own limit too", async () => {
  await using h = await openHarness({ limits: { transitionsMax: 4 } });
  h.runner.scripts.running = () => {
    throw new Error("no");
  };
  for (let i = 0; i < 5; i += 1) {
    await h.launch("a");
    await h.settle();
  }
  const status = await h.controller.taskStatus("a");
  expect([status.transitions.length, status.transitionsDropped]).toEqual([4, 11n]);
  expect(status.transitions.map((each) => each.state)).toEqual([4, 1, 2, 4]);
});
