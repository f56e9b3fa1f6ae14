import { describe, expect, test } from "vitest";
import type { WatchTaskOptions } from "../../src/controller/controller.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import { Harness, openHarness } from "../support/controller-harness.ts";
import { Puller, Watching } from "../support/watching.ts";

function watch(h: Harness, taskId: string, options?: WatchTaskOptions): Watching {
  return new Watching(h.controller.watchTask(taskId, options));
}

/** A task that is in onTaskRunning, and the phase. */
async function running(h: Harness, taskId = "a") {
  await h.launch(taskId);
  return h.runner.phase(taskId);
}

/** The store's revision, after it was moved on by another task. */
async function someRevision(h: Harness): Promise<bigint> {
  await h.launch("another");
  const phase = await h.runner.phase("another");
  phase.return();
  await h.settle();
  return h.disk.revision();
}

describe("a watch", () => {
  test("begins with the status as it is, and shows each transition once and in order up to the end", async () => {
    await using h = await openHarness();
    h.runner.scripts.pending = "hold";
    await h.launch("a", { metadata: { n: 1 } });
    const watching = watch(h, "a");
    await h.settle();
    expect(watching.lines).toEqual(["Pending"]);
    expect(watching.changes[0]?.status?.metadata).toBe('{"n":1}');
    (await h.runner.phase("a", "pending")).return();
    (await h.runner.phase("a")).return({ done: true });
    await watching.over;
    expect(watching.lines).toEqual(["Pending", "Running", "Completed"]);
    expect(watching.changes.at(-1)?.status?.result).toBe('{"done":true}');
    expect(watching.error).toBeUndefined();
  });

  test("shows revisions that rise, each as it is on disk", async () => {
    await using h = await openHarness();
    const phase = await running(h);
    const watching = watch(h, "a");
    for (let step = 1; step <= 5; step += 1) {
      await phase.task.setProgress({ current: step, total: 5 });
      await h.clock.advance(200);
    }
    phase.return();
    await watching.over;
    const revisions = watching.changes.map(({ revision }) => revision);
    expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => Number(a - b)));
    for (const { revision, status } of watching.changes) {
      const then = await h.controller.readTask("a", { revision });
      expect(then.revision).toBe(revision);
      expect(then.status.state).toBe(status?.state);
      expect(then.status.progress).toEqual(status?.progress);
    }
    expect(watching.lines).toEqual(["Running", ...[1, 2, 3, 4, 5].map((n) => `Running ${n}/5`), "Completed 5/5"]);
  });

  test("of many progresses shows some and always the newest, ten times a second at most", async () => {
    await using h = await openHarness();
    const phase = await running(h);
    const watching = watch(h, "a");
    await h.settle();
    watching.take();
    for (let step = 1; step <= 200; step += 1) {
      await phase.task.setProgress({ current: step, total: 1_000 });
      await h.clock.advance(5);
    }
    await h.clock.advance(100);
    const lines = watching.take();
    expect(lines.length).toBeGreaterThan(5);
    expect(lines.length).toBeLessThanOrEqual(12);
    expect(lines.at(-1)).toBe("Running 200/1000");
    phase.return();
    await watching.over;
  });

  test("shows a transition at once, also right after a progress", async () => {
    await using h = await openHarness();
    const phase = await running(h);
    const watching = watch(h, "a");
    await h.settle();
    await phase.task.setProgress({ current: 1 });
    await phase.task.setProgress({ current: 2 });
    phase.return();
    await h.settle();
    // No time has passed.
    expect(watching.lines.at(-1)).toBe("Completed 2/0");
    await watching.over;
  });

  test("sends a bookmark after 15 s of silence, and covers with it what happened to others", async () => {
    await using h = await openHarness();
    const phase = await running(h);
    const watching = watch(h, "a");
    await h.clock.advance(14_999);
    expect(watching.take()).toEqual(["Running"]);
    await h.clock.advance(1);
    expect(watching.take()).toEqual(["bookmark"]);
    const revision = await someRevision(h);
    await h.clock.advance(30_000);
    const bookmarks = watching.changes.map((change) => change.revision);
    expect(watching.take()).toEqual(["bookmark", "bookmark"]);
    expect(bookmarks.at(-1)).toBe(revision);
    await phase.task.setProgress({ current: 1 });
    await h.clock.advance(14_000);
    expect(watching.take()).toEqual(["Running 1/0"]);
    phase.return();
    await watching.over;
  });

  test("of a task that has ended shows the end, and ends", async () => {
    await using h = await openHarness();
    (await running(h)).throw(new Error("no"));
    await h.settle();
    const watching = watch(h, "a");
    await watching.over;
    expect(watching.lines).toEqual(["Failed"]);
    expect(watching.changes[0]?.status?.error?.message).toBe("no");
  });

  test("from the end of a task sends a bookmark, and ends; or waits for the next launch", async () => {
    await using h = await openHarness();
    (await running(h)).return();
    await h.settle();
    const { revision } = await h.controller.readTask("a");
    const ending = watch(h, "a", { sinceRevision: revision });
    await ending.over;
    expect(ending.lines).toEqual(["bookmark"]);
    expect(ending.lastRevision).toBe(h.disk.revision());
    const waiting = watch(h, "a", { sinceRevision: revision, waitForLaunch: true });
    await h.settle();
    expect(waiting.take()).toEqual(["bookmark"]);
    expect(waiting.isOver).toBe(false);
    (await running(h)).return();
    await waiting.over;
    expect(waiting.lines).toEqual(["Pending", "Running", "Completed"]);
  });

  test("that waits for a launch sends a bookmark first, and then every transition, however fast they come", async () => {
    await using h = await openHarness();
    h.runner.scripts.running = () => undefined;
    for (const since of ["of nothing", "of something"]) {
      if (since === "of something") await someRevision2(h);
      const taskId = `task-${since.replaceAll(" ", "-")}`;
      const puller = new Puller(h.controller.watchTask(taskId, { waitForLaunch: true }));
      expect(await puller.next()).toBe("bookmark");
      await h.launch(taskId);
      await h.settle();
      expect(await h.state(taskId)).toBe("Completed");
      expect(await puller.rest()).toEqual(["Pending", "Running", "Completed"]);
    }
  });

  test("of a task that is not there is NOT_FOUND, and of a bad id INVALID_ARGUMENT", async () => {
    await using h = await openHarness();
    const revision = await someRevision(h);
    for (const sinceRevision of [0n, revision]) {
      const watching = watch(h, "nobody", { sinceRevision });
      await watching.over;
      expect(watching.error).toMatchObject({ code: "NOT_FOUND", details: { resource: { name: "tests/nobody" } } });
      expect(watching.changes).toEqual([]);
    }
    expect(() => h.controller.watchTask("no/id")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(() => h.controller.watchTask("a", { runId: "x".repeat(200) })).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });

  test("from a revision that lies ahead is OUT_OF_RANGE", async () => {
    await using h = await openHarness();
    await running(h);
    const sinceRevision = h.disk.revision() + 1n;
    expect(() => h.controller.watchTask("a", { sinceRevision })).toThrow(
      expect.objectContaining({ code: "OUT_OF_RANGE" }),
    );
    (await h.runner.phase("a")).return();
  });

  test("of a log begins with its newest entries, and shows each later one once and in order", async () => {
    await using h = await openHarness();
    const phase = await running(h);
    for (let i = 1; i <= 150; i += 1) await phase.task.addLogEntry("info", `entry ${i}`);
    const watching = watch(h, "a", { includeLogs: true });
    await h.settle();
    expect(watching.seqs).toEqual(Array.from({ length: 100 }, (_, i) => i + 51));
    for (let i = 151; i <= 200; i += 1) {
      await phase.task.addLogEntry("info", `entry ${i}`);
      if (i % 7 === 0) await h.clock.advance(100);
    }
    void phase.task.addLogEntry("info", "entry 201");
    phase.return();
    await watching.over;
    expect(watching.seqs).toEqual(Array.from({ length: 151 }, (_, i) => i + 51));
    expect(watching.changes.flatMap(({ logs }) => logs).at(-1)?.msg).toBe("entry 201");
    expect(watch(h, "a").seqs).toEqual([]);
  });

  test("of a log that is too large for one message has it in several, which a cut leaves whole", async () => {
    await using h = await openHarness();
    const since = await someRevision(h);
    const phase = await running(h);
    const text = "x".repeat(16_000);
    // Said at once, 2 MB of them: no commit, and so no revision, may have more than a message.
    const said = Array.from({ length: 120 }, () => phase.task.addLogEntry("info", text));
    await Promise.all(said);
    phase.return();
    await h.settle();
    const whole = watch(h, "a", { sinceRevision: since, includeLogs: true });
    await whole.over;
    expect(whole.seqs).toEqual(Array.from({ length: 120 }, (_, i) => i + 1));
    for (const { logs } of whole.changes) {
      expect(logs.reduce((sum, { msg }) => sum + msg.length, 0)).toBeLessThanOrEqual(512 * 1024);
    }
    expect(whole.changes.length).toBeGreaterThan(6);
    for (const [i, { revision }] of whole.changes.entries()) {
      const resumed = watch(h, "a", { sinceRevision: revision, includeLogs: true });
      await resumed.over;
      expect([
        ...whole.changes.slice(0, i + 1).flatMap(({ logs }) => logs.map(({ seq }) => Number(seq))),
        ...resumed.seqs,
      ]).toEqual(whole.seqs);
    }
  });

  test("shows metadata and result of the version that it shows, whatever has replaced them since", async () => {
    await using h = await openHarness();
    const since = await someRevision(h);
    const large = (name: string): { text: string } => ({ text: name.repeat(2_000) });
    const puller = new Puller(h.controller.watchTask("a", { sinceRevision: since, waitForLaunch: true }));
    expect(await puller.next()).toBe("bookmark");
    await h.launch("a", { metadata: large("first") });
    expect(await puller.next()).toBe("Pending");
    (await h.runner.phase("a")).return(large("result"));
    await h.settle();
    await h.launch("a", { metadata: large("second") });
    await h.settle();
    expect(await puller.rest()).toEqual(["Running", "Completed"]);
    for (const { status } of puller.changes.slice(1)) expect(status?.metadata).toBe(JSON.stringify(large("first")));
    expect(puller.changes.at(-1)?.status?.result).toBe(JSON.stringify(large("result")));
    (await h.runner.phase("a")).return();
  });
});

async function someRevision2(h: Harness): Promise<void> {
  await h.launch("yet-another");
  await h.settle();
}

describe("a watch of one run", () => {
  test("of a run that is not the current one is FAILED_PRECONDITION, and names that", async () => {
    await using h = await openHarness();
    const phase = await running(h);
    const { runId } = await h.controller.taskStatus("a");
    const watching = watch(h, "a", { runId: "another" });
    await watching.over;
    expect(watching.error).toMatchObject({ code: "FAILED_PRECONDITION", details: { metadata: { run_id: runId } } });
    const right = watch(h, "a", { runId });
    phase.return();
    await right.over;
    expect(right.lines).toEqual(["Running", "Completed"]);
  });

  test("ends so when its run is replaced", async () => {
    await using h = await openHarness();
    await running(h);
    const { runId } = await h.controller.taskStatus("a");
    const watching = watch(h, "a", { runId });
    await h.settle();
    const second = await h.launch("a");
    expect(second.outcome).toBe("restarted");
    (await h.runner.phase("a")).stop();
    await watching.over;
    expect(watching.lines).toEqual(["Running"]);
    expect(watching.error).toMatchObject({
      code: "FAILED_PRECONDITION",
      details: { metadata: { run_id: second.runId } },
    });
    (await h.runner.phase("a")).return();
  });

  test.each([false, true])("that is stored waits for it, and shows all of it (ended before: %s)", async (isEnded) => {
    await using h = await openHarness();
    const old = await running(h);
    if (isEnded) {
      h.runner.scripts.completed = "hold";
      await h.controller.cancelTask("a");
    }
    const { runId, revision } = await h.launch("a");
    if (isEnded) {
      old.stop();
      await h.runner.phase("a", "completed");
    }
    const watching = watch(h, "a", { runId });
    const since = watch(h, "a", { runId, sinceRevision: revision });
    await h.settle();
    expect(watching.lines).toEqual(["bookmark"]);
    if (isEnded) (await h.runner.phase("a", "completed")).return();
    else old.stop();
    (await h.runner.phase("a")).return();
    await h.settle();
    await Promise.all([watching.over, since.over]);
    expect(watching.lines).toEqual(["bookmark", "Pending", "Running", "Completed"]);
    expect(since.lines.filter((line) => line !== "bookmark")).toEqual(["Pending", "Running", "Completed"]);
    if (isEnded) (await h.runner.phase("a", "completed")).return();
  });

  test("that is stored ends when another launch or a cancel takes its place", async () => {
    await using h = await openHarness();
    const old = await running(h);
    const second = await h.launch("a");
    const replaced = watch(h, "a", { runId: second.runId });
    await h.settle();
    const third = await h.launch("a");
    await replaced.over;
    expect(replaced.error).toMatchObject({ code: "FAILED_PRECONDITION" });
    const canceled = watch(h, "a", { runId: third.runId });
    await h.settle();
    await h.controller.cancelTask("a");
    await canceled.over;
    expect(canceled.error).toMatchObject({ code: "FAILED_PRECONDITION" });
    old.stop();
  });

  test("shows its run's end to a slow reader, though a newer run has begun", async () => {
    await using h = await openHarness();
    const phase = await running(h);
    const { runId } = await h.controller.taskStatus("a");
    const puller = new Puller(h.controller.watchTask("a", { runId }));
    expect(await puller.next()).toBe("Running");
    phase.throw(new Error("first"));
    await h.settle();
    const next = await running(h);
    expect(await puller.rest()).toEqual(["Failed"]);
    next.return();
  });

  test.each([0n, 1n])("that waits for the one before it to stop begins with a bookmark, since %s", async (since) => {
    await using h = await openHarness();
    await running(h);
    await h.controller.cancelTask("a");
    const { runId } = await h.launch("a");
    const puller = new Puller(h.controller.watchTask("a", { runId, sinceRevision: since }));
    expect(await puller.next()).toBe("bookmark");
    expect(puller.changes[0]?.revision).toBe(h.disk.revision());
    (await h.runner.phase("a")).stop();
    (await h.runner.phase("a")).return();
    await h.settle();
    // Every transition of it, though it had ended before the reader looked; nothing of the run before.
    expect(await puller.rest()).toEqual(["Pending", "Running", "Completed"]);
    expect(new Set(puller.changes.map(({ status }) => status?.runId))).toEqual(new Set([undefined, runId]));
  });

  test("that never begins ends when that is known", async () => {
    await using h = await openHarness();
    const phase = await running(h);
    const { runId } = await h.launch("a");
    const watching = watch(h, "a", { runId });
    await h.settle();
    expect(watching.lines).toEqual(["bookmark"]);
    await h.controller.cancelTask("a");
    await watching.over;
    expect(watching.error).toMatchObject({ code: "FAILED_PRECONDITION" });
    phase.stop();
  });

  test("from an older revision leaves out the runs before it", async () => {
    await using h = await openHarness();
    const since = await someRevision(h);
    (await running(h)).return();
    await h.settle();
    const phase = await running(h);
    const { runId } = await h.controller.taskStatus("a");
    const watching = watch(h, "a", { runId, sinceRevision: since });
    phase.return();
    await watching.over;
    expect(watching.lines).toEqual(["Pending", "Running", "Completed"]);
  });
});

describe("history that is gone", () => {
  test("is OUT_OF_RANGE, with the first revision there is", async () => {
    await using h = new Harness(await openMemoryStore({ historyBytes: 20_000 }), {});
    await h.open();
    const phase = await running(h);
    const { revision } = await h.controller.readTask("a");
    const slow = new Puller(h.controller.watchTask("a", { sinceRevision: revision - 1n }));
    expect(await slow.next()).toBe("Running");
    h.runner.scripts.running = "hold";
    for (let i = 0; i < 30; i += 1) {
      await h.launch("a");
      (await h.runner.phase("a")).stop();
      await h.settle();
    }
    const first = h.disk.firstRevision();
    expect(first).toBeGreaterThan(revision);
    const gone = {
      code: "OUT_OF_RANGE",
      details: { reason: "COMPACTED", metadata: { first_revision: String(first) } },
    };
    expect(() => h.controller.watchTask("a", { sinceRevision: revision })).toThrow(expect.objectContaining(gone));
    await expect(slow.rest()).rejects.toMatchObject(gone);
    // Starting again from a snapshot works, and so does the first revision that was named.
    for (const sinceRevision of [0n, first]) {
      const puller = new Puller(h.controller.watchTask("a", { sinceRevision }));
      expect(await puller.next()).toBeDefined();
      await puller.leave();
    }
    expect(phase.isSettled).toBe(true);
    (await h.runner.phase("a")).return();
  });
});
