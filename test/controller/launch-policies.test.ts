import { describe, expect, test } from "vitest";
import type { LaunchOptions } from "../../src/controller/controller.ts";
import { type Harness, openHarness, refusal } from "../support/controller-harness.ts";

type Before = "Pending" | "Running" | "Completed" | "Failed" | "Canceled";

/** Brings task "a" into a state, with progress, log entries, metadata and labels. */
async function bring(h: Harness, state: Before): Promise<string> {
  h.runner.scripts.pending = "hold";
  const { runId } = await h.launch("a", {
    metadata: { old: "m".repeat(3_000) },
    labels: { old: "1", both: "1" },
    owner: "bob",
  });
  const pending = await h.runner.phase("a", "pending");
  await pending.task.addLogEntry("info", "old entry");
  await pending.task.setProgress({ current: 3 });
  if (state === "Pending") return runId;
  h.runner.scripts.pending = () => undefined;
  pending.return();
  const running = await h.runner.phase("a");
  if (state === "Completed") running.return("r".repeat(3_000));
  if (state === "Failed") running.throw(new Error("no"));
  if (state === "Canceled") {
    await h.controller.cancelTask("a", { reason: "why" });
    running.stop();
  }
  await h.settle();
  expect(await h.state("a")).toBe(state);
  return runId;
}

/** Lets the run that is alive stop, so that the new one starts. */
async function letGo(h: Harness): Promise<void> {
  for (const phase of h.runner.phases) if (!phase.isSettled && phase.abortKind === "RESTART") phase.stop();
  await h.settle();
}

describe("what a new run keeps, through the whole controller,", () => {
  const rows: ReadonlyArray<[Before, { progress: boolean; metadata: boolean; logs: string[]; transitions: string[] }]> =
    [
      ["Pending", { progress: false, metadata: false, logs: [], transitions: [] }],
      ["Running", { progress: true, metadata: true, logs: ["old entry"], transitions: ["Pending", "Running"] }],
      ["Completed", { progress: false, metadata: false, logs: [], transitions: [] }],
      [
        "Failed",
        {
          progress: false,
          metadata: false,
          logs: ["old entry", "restarting; the run before was Failed"],
          transitions: ["Pending", "Running", "Failed"],
        },
      ],
      ["Canceled", { progress: true, metadata: false, logs: [], transitions: [] }],
    ];

  test.each(rows)("when the one before is %s", async (state, kept) => {
    await using h = await openHarness();
    const oldRun = await bring(h, state);
    const before = await h.controller.taskStatus("a");
    await h.clock.advance(1_000);
    const { runId } = await h.launch("a", { labels: { new: "1", both: "2" }, owner: "ann" });
    await letGo(h);
    const status = await h.controller.taskStatus("a");
    expect(status.progress?.current).toBe(kept.progress ? 3n : undefined);
    expect(status.metadata).toBe(kept.metadata ? before.metadata : "");
    expect(status.logs.map((entry) => entry.msg)).toEqual(kept.logs);
    expect((await h.transitions("a")).slice(0, -2)).toEqual(kept.transitions);
    expect(status).toMatchObject({
      runId,
      attempt: 1,
      labels: { new: "1", both: "2" },
      owner: "ann",
      crashCount: 0,
      createTime: before.createTime,
    });
    expect([status.error, status.result, status.cancel, status.endTime]).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    expect(runId).not.toBe(oldRun);
    // Log numbers go on, also where the entries are gone.
    const phase = await h.runner.phase("a", h.runner.held("a", "pending") ? "pending" : "running");
    await phase.task.addLogEntry("info", "next");
    expect((await h.controller.taskStatus("a")).logs.at(-1)?.seq).toBe(BigInt(Math.max(2, kept.logs.length + 1)));
    await h.settle();
    expect(await h.keys("/trash/")).toEqual([]);
  });

  test.each(rows)("replaces metadata that is given, when the one before is %s", async (state) => {
    await using h = await openHarness();
    await bring(h, state);
    await h.launch("a", { jsonMetadata: ' {"new": 1}' });
    await letGo(h);
    expect((await h.controller.taskStatus("a")).metadata).toBe(' {"new": 1}');
  });

  test("says in the appended entry when and at which level", async () => {
    await using h = await openHarness();
    await bring(h, "Failed");
    await h.clock.advance(5_000);
    await h.launch("a");
    const entry = (await h.controller.taskStatus("a")).logs.at(-1);
    expect(entry).toMatchObject({ seq: 2n, level: 0, msg: expect.stringContaining("Failed") });
    expect(Number(entry?.timestamp?.seconds) * 1_000).toBe(h.clock.wall());
  });
});

describe("where the id is there already, a launch", () => {
  const cases: ReadonlyArray<[Before, LaunchOptions, "launched" | "restarted" | "used-existing" | "ALREADY_EXISTS"]> = [
    ["Running", { ifActive: "fail" }, "ALREADY_EXISTS"],
    ["Running", { ifActive: "use-existing" }, "used-existing"],
    ["Running", { ifEnded: "fail" }, "restarted"],
    ["Pending", { ifActive: "fail" }, "ALREADY_EXISTS"],
    ["Pending", { ifActive: "use-existing" }, "used-existing"],
    ["Completed", {}, "launched"],
    ["Completed", { ifEnded: "relaunch-unless-completed" }, "used-existing"],
    ["Completed", { ifEnded: "use-existing" }, "used-existing"],
    ["Completed", { ifEnded: "fail", ifActive: "restart" }, "ALREADY_EXISTS"],
    ["Failed", { ifEnded: "relaunch-unless-completed" }, "launched"],
    ["Failed", { ifEnded: "use-existing" }, "used-existing"],
    ["Canceled", { ifEnded: "relaunch-unless-completed" }, "launched"],
    ["Canceled", { ifEnded: "fail" }, "ALREADY_EXISTS"],
    ["Canceled", { ifActive: "fail" }, "launched"],
  ];
  test.each(cases)("of one that is %s with %o is %s", async (state, options, outcome) => {
    await using h = await openHarness();
    const oldRun = await bring(h, state);
    const before = await h.controller.readTask("a");
    const call = h.launch("a", { ...options, metadata: { other: true } });
    if (outcome === "ALREADY_EXISTS") {
      expect((await refusal(call)).code).toBe(outcome);
      expect(await h.controller.readTask("a")).toEqual(before);
      return;
    }
    const launched = await call;
    expect(launched.outcome).toBe(outcome);
    expect(launched.runId === oldRun).toBe(outcome === "used-existing");
    if (outcome === "used-existing") {
      expect(launched.status).toEqual(before.status);
      expect(launched.revision).toBe(before.revision);
      expect(await h.controller.readTask("a")).toEqual(before);
    }
  });

  test("that is refused or uses it does not touch the run that is alive", async () => {
    await using h = await openHarness();
    await bring(h, "Running");
    await h.launch("a", { ifActive: "use-existing" });
    await refusal(h.launch("a", { ifActive: "fail" }));
    const phase = await h.runner.phase("a");
    expect(phase.signal.aborted).toBe(false);
    expect(await h.keys("/intents/")).toEqual([]);
  });
});

describe("if_revision", () => {
  test("lets a launch through only at the task's last change", async () => {
    await using h = await openHarness();
    const { revision } = await h.launch("a");
    await h.launch("other");
    const phase = await h.runner.phase("a");
    await h.settle();
    const stale = await refusal(h.launch("a", { ifRevision: revision }));
    const now = (await h.controller.readTask("a")).revision;
    expect([stale.code, stale.details.reason, stale.details.metadata]).toEqual([
      "ABORTED",
      "CONFLICT",
      { revision: String(now) },
    ]);
    expect(phase.signal.aborted).toBe(false);
    expect((await h.launch("a", { ifRevision: now })).outcome).toBe("restarted");
  });

  test("of 0 lets only a launch through that creates the task", async () => {
    await using h = await openHarness();
    expect((await h.launch("a", { ifRevision: 0n })).outcome).toBe("launched");
    expect((await refusal(h.launch("a", { ifRevision: 0n }))).code).toBe("ABORTED");
    expect((await refusal(h.launch("b", { ifRevision: 5n }))).code).toBe("ABORTED");
    expect(await h.controller.listTasks()).toEqual(["a"]);
  });

  test("is decided before if_active and if_ended, also where nothing would change", async () => {
    await using h = await openHarness();
    await bring(h, "Completed");
    for (const ifEnded of ["fail", "use-existing", "relaunch"] as const) {
      expect((await refusal(h.launch("a", { ifRevision: 1n, ifEnded }))).code).toBe("ABORTED");
    }
    expect((await refusal(h.controller.cancelTask("a", { ifRevision: 1n }))).code).toBe("ABORTED");
    expect((await refusal(h.controller.deleteTask("a", { ifRevision: 1n }))).code).toBe("ABORTED");
    const { revision } = await h.controller.readTask("a");
    await h.controller.cancelTask("a", { ifRevision: revision });
    await h.controller.deleteTask("a", { ifRevision: revision });
    expect(await h.controller.listTasks()).toEqual([]);
  });
});
