import { describe, expect, test } from "vitest";
import type { Store } from "../../src/store/store.ts";
import { refusingCommits } from "../support/refusing-store.ts";
import { taskKey } from "../../src/store/keys.ts";
import { controllerName, type Harness, openHarness, refusal } from "../support/controller-harness.ts";
import type { Phase } from "../support/scripted-runner.ts";

async function launchRunning(h: Harness, metadata = { n: 1 }): Promise<Phase> {
  await h.launch("a", { metadata });
  const phase = await h.runner.phase("a");
  await phase.task.setProgress({ current: 5, total: 9 });
  await phase.task.addLogEntry("info", "first");
  return phase;
}

async function expectOneRun(h: Harness, runId: string): Promise<Phase> {
  const phase = await h.runner.phase("a");
  expect(phase.context.runId).toBe(runId);
  expect(await h.keys("/intents/")).toEqual([]);
  return phase;
}

describe("a launch of a running task", () => {
  test("is stored and acknowledged at once; the old run is told to stop, and the new one starts when it has", async () => {
    await using h = await openHarness();
    const old = await launchRunning(h);
    const launched = await h.launch("a", { metadata: { n: 2 }, labels: { l: "new" }, owner: "ann" });
    expect(launched.outcome).toBe("restarted");
    expect(launched.runId).not.toBe(old.context.runId);
    expect(launched.status).toMatchObject({ runId: old.context.runId, state: 2, metadata: '{"n":1}' });
    expect(await h.keys("/intents/")).toHaveLength(1);
    expect([old.signal.aborted, old.abortKind]).toEqual([true, "RESTART"]);

    await h.clock.advance(3_600_000);
    expect(h.runner.calls("a")).toEqual(["pending 1", "running 1"]);
    old.stop();
    const next = await expectOneRun(h, launched.runId);
    expect(await next.task.loadTaskMetadata()).toEqual({ n: 2 });
    const status = await h.controller.taskStatus("a");
    expect(status).toMatchObject({ labels: { l: "new" }, owner: "ann", attempt: 1, progress: { current: 5n } });
    expect(status.logs.map((entry) => entry.msg)).toEqual(["first"]);
    expect(h.runner.all("a", "completed")).toEqual([]);
    expect(await h.transitions("a")).toEqual(["Pending", "Running", "Pending: restarted while Running", "Running"]);
  });

  test.each([
    ["returns", (phase: Phase) => phase.return("a result")],
    ["throws", (phase: Phase) => phase.throw(new Error("no"))],
    ["stops", (phase: Phase) => phase.stop()],
  ])("discards what the old run does when it %s", async (_, settle) => {
    await using h = await openHarness();
    const old = await launchRunning(h);
    const { runId } = await h.launch("a");
    settle(old);
    await expectOneRun(h, runId);
    const status = await h.controller.taskStatus("a");
    expect([status.state, status.error, status.result, status.metadata]).toEqual([2, undefined, undefined, '{"n":1}']);
  });

  test("keeps what the old run still writes before it has stopped", async () => {
    await using h = await openHarness();
    const old = await launchRunning(h);
    await h.launch("a");
    await old.task.setProgress({ current: 6, total: 9 });
    void old.task.addLogEntry("info", "last words");
    old.stop();
    const next = await h.runner.phase("a");
    await h.settle();
    expect(await next.task.getProgress()).toMatchObject({ current: 6n });
    expect((await h.controller.taskStatus("a")).logs.map((entry) => entry.msg)).toEqual(["first", "last words"]);
  });

  test("in onTaskPending keeps nothing, as the task is Pending", async () => {
    await using h = await openHarness();
    h.runner.scripts.pending = "hold";
    await h.launch("a", { metadata: { n: 1 } });
    const old = await h.runner.phase("a", "pending");
    await old.task.setProgress({ current: 1 });
    const { runId, outcome } = await h.launch("a");
    expect(outcome).toBe("restarted");
    old.return();
    const next = await h.runner.phase("a", "pending");
    expect(next.context.runId).toBe(runId);
    const status = await h.controller.taskStatus("a");
    expect([status.metadata, status.progress]).toEqual(["", undefined]);
    expect(await h.transitions("a")).toEqual(["Pending: restarted while Pending"]);
  });

  test("is replaced by a newer launch", async () => {
    await using h = await openHarness();
    const old = await launchRunning(h);
    const runs = [];
    for (const n of [2, 3, 4]) runs.push((await h.launch("a", { metadata: { n } })).runId);
    expect(new Set(runs).size).toBe(3);
    expect(await h.keys("/intents/")).toHaveLength(1);
    old.stop();
    const next = await expectOneRun(h, runs[2] as string);
    expect(await next.task.loadTaskMetadata()).toEqual({ n: 4 });
    expect(h.runner.all("a", "running")).toHaveLength(2);
  });

  test("is removed by a cancel, which ends the old run", async () => {
    await using h = await openHarness();
    const old = await launchRunning(h);
    await h.launch("a", { metadata: { n: 2 } });
    await h.controller.cancelTask("a");
    expect(await h.keys("/intents/")).toEqual([]);
    old.stop();
    await h.settle();
    expect(await h.state("a")).toBe("Canceled");
    expect(h.runner.calls("a")).toEqual(["pending 1", "running 1", "completed 1"]);
  });

  test("follows on a cancel: the old run ends as Canceled, is told of, and then the new one starts", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    const old = await launchRunning(h);
    await h.controller.cancelTask("a", { reason: "why" });
    const { runId, outcome } = await h.launch("a", { metadata: { n: 2 } });
    expect(outcome).toBe("restarted");
    old.stop();
    const completed = await h.runner.phase("a", "completed");
    expect([completed.state, await h.state("a")]).toEqual([6, "Canceled"]);
    await h.settle();
    expect(h.runner.all("a", "running")).toHaveLength(1);
    completed.return();
    const next = await expectOneRun(h, runId);
    expect(await next.task.getProgress()).toMatchObject({ current: 5n });
    expect(await h.controller.taskStatus("a")).toMatchObject({ logs: [], metadata: '{"n":2}' });
    expect(await h.transitions("a")).toEqual(["Pending: launched again after Canceled", "Running"]);
  });

  test("follows on a cancel that a runner answers by finishing", async () => {
    await using h = await openHarness();
    const old = await launchRunning(h);
    await h.controller.cancelTask("a");
    const { runId } = await h.launch("a");
    old.return(1);
    await expectOneRun(h, runId);
    expect(h.runner.all("a", "completed").map((phase) => phase.state)).toEqual([3]);
  });

  test("follows on a cancel, is cancelled again, and does not take place", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    const old = await launchRunning(h);
    await h.controller.cancelTask("a");
    await h.launch("a");
    old.stop();
    const completed = await h.runner.phase("a", "completed");
    const canceled = await h.controller.cancelTask("a");
    expect(canceled.stage).toBe("ended");
    completed.return();
    await h.settle();
    expect(await h.state("a")).toBe("Canceled");
    expect(await h.keys("/intents/")).toEqual([]);
  });

  test("is the run that is alive to the launches that come meanwhile", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    const old = await launchRunning(h);
    await h.controller.cancelTask("a");
    const { runId } = await h.launch("a", { metadata: { n: 2 } });
    for (const isEnded of [false, true]) {
      if (isEnded) {
        old.stop();
        await h.runner.phase("a", "completed");
      }
      const existing = await h.launch("a", { ifActive: "use-existing", ifEnded: "fail" });
      expect([existing.outcome, existing.runId]).toEqual(["used-existing", runId]);
      const refused = h.launch("a", { ifActive: "fail", ifEnded: "relaunch" });
      await expect(refused).rejects.toMatchObject({ code: "ALREADY_EXISTS" });
    }
    const newer = await h.launch("a", { metadata: { n: 3 }, ifEnded: "fail" });
    expect(newer.outcome).toBe("restarted");
    expect(await h.keys("/intents/")).toHaveLength(1);
    (await h.runner.phase("a", "completed")).return();
    const phase = await expectOneRun(h, newer.runId);
    expect(await phase.task.loadTaskMetadata()).toEqual({ n: 3 });
    expect(await h.keys("/intents/")).toEqual([]);
    h.runner.scripts.completed = () => undefined;
  });

  test.each(["ended", "running"])("outlives a cancel of the %s run before it alone", async (before) => {
    await using h = await openHarness();
    h.runner.scripts.completed = before === "ended" ? "hold" : () => undefined;
    const old = await launchRunning(h);
    if (before === "ended") {
      old.return();
      await h.runner.phase("a", "completed");
      // Not waited for: it takes place when the runner was told.
      void h.launch("a", { metadata: { n: 2 } });
      await h.settle();
    }
    const { runId } = before === "running" ? await h.launch("a", { metadata: { n: 2 } }) : { runId: undefined };
    await h.controller.cancelTask("a", { runId: old.context.runId });
    if (before === "running") old.stop();
    else (await h.runner.phase("a", "completed")).return();
    const next = await h.runner.phase("a");
    expect([await next.task.loadTaskMetadata(), runId ?? next.context.runId]).toEqual([{ n: 2 }, next.context.runId]);
    h.runner.scripts.completed = () => undefined;
    next.return();
  });

  test("that could not take place is not forgotten: the next launch takes its place, and no opening does it again", async () => {
    let refuses = true;
    const wrap = (store: Store): Store =>
      refusingCommits(
        store,
        (changes) => refuses && changes.some(({ key }) => key.startsWith("/intents/") && key === taken),
      );
    let taken = "";
    await using h = await openHarness({ wrap });
    const old = await launchRunning(h);
    await h.launch("a");
    [taken = ""] = await h.keys("/intents/");
    old.stop();
    await h.settle();
    expect(h.messages("error")).toContainEqual(expect.stringContaining("stored launch could not take place"));
    expect((await refusal(h.controller.deleteTask("a"))).code).toBe("FAILED_PRECONDITION");
    refuses = false;
    const { runId, outcome } = await h.launch("a", { metadata: { n: 3 } });
    expect(outcome).toBe("restarted");
    await expectOneRun(h, runId);
    await h.crash();
    expect((await h.runner.phase("a")).context.runId).toBe(runId);
  });

  test("is gone with its task, where that is damaged and deleted", async () => {
    const damage = { type: "put", key: taskKey(controllerName, "a"), value: new Uint8Array([255, 255]) } as const;
    await using h = await openHarness();
    await launchRunning(h);
    await h.launch("a");
    h.handle.cut();
    h.runner.abandon();
    await h.disk.commit([damage]);
    await h.open();
    await h.controller.deleteTask("a");
    expect((await refusal(h.launch("a", { ifActive: "use-existing", ifRevision: 1n }))).code).toBe("ABORTED");
    expect((await h.launch("a", { ifActive: "fail" })).outcome).toBe("launched");
    (await h.runner.phase("a")).return();
  });

  test("stands in the way of a deletion", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    const old = await launchRunning(h);
    await h.controller.cancelTask("a");
    await h.launch("a");
    old.stop();
    const completed = await h.runner.phase("a", "completed");
    const refused = await refusal(h.controller.deleteTask("a"));
    expect(refused.code).toBe("FAILED_PRECONDITION");
    expect(refused.message).toContain("about to be launched again");
    completed.return();
    await h.settle();
    expect(await h.state("a")).toBe("Running");
  });

  test.each(["close", "crash"] as const)("is finished by the next opening after a %s", async (how) => {
    await using h = await openHarness();
    await launchRunning(h);
    const { runId } = await h.launch("a", { metadata: { n: 2 }, labels: { l: "new" }, owner: "ann" });
    await (how === "close" ? h.reopen() : h.crash());
    const next = await expectOneRun(h, runId);
    expect(next.context.attempt).toBe(1);
    expect(await next.task.loadTaskMetadata()).toEqual({ n: 2 });
    expect(await next.task.getProgress()).toMatchObject({ current: 5n });
    expect(await h.controller.taskStatus("a")).toMatchObject({ labels: { l: "new" }, owner: "ann" });
    expect(await h.transitions("a")).toEqual(["Pending", "Running", "Pending: restarted while Running", "Running"]);
  });

  test.each(["close", "crash"] as const)("that was cancelled is not finished after a %s", async (how) => {
    await using h = await openHarness();
    await launchRunning(h);
    await h.launch("a", { metadata: { n: 2 } });
    await h.controller.cancelTask("a");
    await (how === "close" ? h.reopen() : h.crash());
    await h.settle();
    expect(await h.state("a")).toBe("Canceled");
    expect(h.runner.held("a")).toBeUndefined();
  });

  test("after a cancel is finished over a crash, once the runner was told of the end before", async () => {
    await using h = await openHarness();
    await launchRunning(h);
    await h.controller.cancelTask("a");
    const { runId } = await h.launch("a", { metadata: { n: 2 } });
    h.runner.scripts.completed = "hold";
    await h.crash();
    const completed = await h.runner.phase("a", "completed");
    expect([completed.state, h.runner.held("a")]).toEqual([6, undefined]);
    completed.return();
    await expectOneRun(h, runId);
  });

  test("after a cancel is finished over a crash between the end and its delivery, and the end is told of", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    const old = await launchRunning(h);
    await h.controller.cancelTask("a");
    const { runId } = await h.launch("a", { metadata: { n: 2 } });
    old.stop();
    await h.runner.phase("a", "completed");
    await h.crash();
    const completed = await h.runner.phase("a", "completed");
    expect(completed.state).toBe(6);
    expect(completed.context.runId).not.toBe(runId);
    await h.settle();
    expect(h.runner.held("a")).toBeUndefined();
    completed.return();
    await expectOneRun(h, runId);
  });

  test("waits for a place like any other where others wait for longer", async () => {
    await using h = await openHarness({ concurrency: 1 });
    const old = await launchRunning(h);
    await h.launch("b");
    await h.launch("a");
    old.stop();
    await h.runner.phase("b");
    expect(await h.states("a", "b")).toEqual(["Pending", "Running"]);
    (await h.runner.phase("b")).return();
    await h.runner.phase("a");
  });

  test("leaves no run to overlap with another, whatever is launched and cancelled meanwhile", async () => {
    await using h = await openHarness();
    const running = new Set<unknown>();
    const most = { value: 0 };
    h.runner.scripts.running = async (phase) => {
      running.add(phase);
      most.value = Math.max(most.value, running.size);
      await phase.settled.catch(() => {});
      for (let i = 0; i < phase.context.attempt; i += 1) await Promise.resolve();
      running.delete(phase);
      phase.signal.throwIfAborted();
    };
    for (let i = 0; i < 60; i += 1) {
      const calls = [h.launch("a"), i % 3 === 0 ? h.controller.cancelTask("a").catch(() => {}) : h.launch("a")];
      for (const phase of h.runner.all("a", "running")) phase.return();
      await Promise.all(calls);
    }
    await h.settle();
    expect(most.value).toBe(1);
  });
});

describe("a launch of a waiting task", () => {
  test("replaces it in its own commit, and the answer shows the new run", async () => {
    await using h = await openHarness({ concurrency: 1 });
    await h.launch("busy");
    const first = await h.launch("a", { metadata: { n: 1 }, labels: { l: "1" } });
    const commits = h.handle.commits;
    const second = await h.launch("a", { metadata: { n: 2 }, labels: { l: "2" } });
    expect(h.handle.commits).toBe(commits + 1);
    expect(second).toMatchObject({
      outcome: "restarted",
      status: { runId: second.runId, state: 1, metadata: '{"n":2}', attempt: 1 },
    });
    expect(second.runId).not.toBe(first.runId);
    expect(await h.keys("/intents/")).toEqual([]);
    (await h.runner.phase("busy")).return();
    const phase = await h.runner.phase("a");
    expect(phase.context.runId).toBe(second.runId);
    await h.settle();
    expect(h.runner.calls("a")).toEqual(["pending 1", "running 1"]);
  });

  test("puts it at the end of the line", async () => {
    await using h = await openHarness({ concurrency: 1 });
    for (const id of ["busy", "a", "b"]) await h.launch(id);
    await h.launch("a");
    (await h.runner.phase("busy")).return();
    await h.runner.phase("b");
    expect(await h.state("a")).toBe("Pending");
  });
});
