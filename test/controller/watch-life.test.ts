import { getEventListeners } from "node:events";
import { describe, expect, test } from "vitest";
import type { WatchTaskOptions } from "../../src/controller/controller.ts";
import { createKVStore } from "../../src/store/task-store.ts";
import { type Harness, openHarness } from "../support/controller-harness.ts";
import { Puller, Watching } from "../support/watching.ts";

function watch(h: Harness, taskId: string, options?: WatchTaskOptions): Watching {
  return new Watching(h.controller.watchTask(taskId, options));
}

async function running(h: Harness, taskId = "a") {
  await h.launch(taskId);
  return h.runner.phase(taskId);
}

describe("a watch goes on", () => {
  test("over a live run that is replaced", async () => {
    await using h = await openHarness();
    await running(h);
    const watching = watch(h, "a");
    await h.launch("a", { metadata: { n: 2 } });
    (await h.runner.phase("a")).stop();
    (await h.runner.phase("a")).return();
    await watching.over;
    expect(watching.lines).toEqual(["Running", "Pending", "Running", "Completed"]);
  });

  test("over a relaunch, from the end before it", async () => {
    await using h = await openHarness();
    (await running(h)).throw(new Error("first"));
    await h.settle();
    const { revision } = await h.controller.readTask("a");
    (await running(h)).return();
    await h.settle();
    const watching = watch(h, "a", { sinceRevision: revision, includeLogs: true });
    await watching.over;
    expect(watching.lines).toEqual(["Pending +1", "Running", "Completed"]);
  });

  test("for a launch, where the ended task has changed since its end without one", async () => {
    await using h = await openHarness();
    (await running(h)).return();
    await h.settle();
    const { status, revision } = await h.controller.readTask("a");
    // As a write that is refused after the end does.
    await createKVStore(h.disk).put("/tasks/tests/a", { ...status, rejectedWrites: 1n });
    await h.crash();
    const waiting = watch(h, "a", { sinceRevision: revision, waitForLaunch: true });
    const plain = watch(h, "a", { sinceRevision: revision });
    await plain.over;
    expect(plain.lines).toEqual(["Completed"]);
    await h.settle();
    expect(waiting.lines).toEqual(["Completed"]);
    await h.launch("a");
    (await h.runner.phase("a")).return();
    await waiting.over;
    expect(waiting.lines).toEqual(["Completed", "Pending", "Running", "Completed"]);
  });

  test("over a restart of the controller, by the revision of what it saw last", async () => {
    await using h = await openHarness();
    const phase = await running(h);
    await phase.task.setProgress({ current: 3, total: 4 });
    const before = watch(h, "a", { includeLogs: true });
    await h.settle();
    expect(before.lines).toEqual(["Running 3/4"]);
    await h.reopen();
    expect(before.error).toMatchObject({ code: "UNAVAILABLE", details: { reason: "DRAINING" } });
    await h.runner.phase("a");
    await h.crash();
    const after = watch(h, "a", { sinceRevision: before.lastRevision, includeLogs: true });
    (await h.runner.phase("a")).return();
    await after.over;
    expect(after.lines).toEqual(["Pending 3/4", "Running 3/4", "Pending 3/4", "Running 3/4", "Completed 3/4"]);
    expect(after.changes.at(-1)?.status?.attempt).toBe(3);
  });

  test("over a deletion: who had not seen the end sees it, and nothing of the task that is made anew", async () => {
    await using h = await openHarness();
    const phase = await running(h);
    const slow = new Puller(h.controller.watchTask("a", { includeLogs: true }));
    expect(await slow.next()).toBe("Running");
    const { revision } = await h.controller.readTask("a");
    await phase.task.addLogEntry("info", "before the end");
    phase.return({ text: "r".repeat(3_000) });
    await h.settle();
    await h.controller.deleteTask("a");
    const gone = watch(h, "a", { sinceRevision: revision });
    await gone.over;
    expect([gone.lines, gone.error]).toEqual([["Completed"], undefined]);
    expect(gone.changes[0]?.status?.result?.length).toBeGreaterThan(3_000);
    const next = await running(h);
    const anew = watch(h, "a", { sinceRevision: revision });
    await anew.over;
    expect(anew.lines).toEqual(["Completed"]);
    expect(await slow.rest()).toEqual(["Completed"]);
    // From the end of the old one on there is the new one.
    const waiting = watch(h, "a", { sinceRevision: anew.lastRevision });
    next.return();
    await waiting.over;
    expect(waiting.lines).toEqual(["Pending", "Running", "Completed"]);
  });

  test("of a task that is deleted after its end was seen is NOT_FOUND, unless it waits for a launch", async () => {
    await using h = await openHarness();
    (await running(h)).return();
    await h.settle();
    const { revision } = await h.controller.readTask("a");
    const waiting = watch(h, "a", { sinceRevision: revision, waitForLaunch: true });
    await h.settle();
    await h.controller.deleteTask("a");
    await h.settle();
    expect([waiting.take(), waiting.isOver]).toEqual([["bookmark"], false]);
    const refused = watch(h, "a", { sinceRevision: revision });
    await refused.over;
    expect(refused.error).toMatchObject({ code: "NOT_FOUND" });
    (await running(h)).return();
    await waiting.over;
    expect(waiting.lines).toEqual(["Pending", "Running", "Completed"]);
  });

  test("over generations that came and went while nobody looked", async () => {
    await using h = await openHarness();
    h.runner.scripts.running = () => undefined;
    await h.launch("a");
    await h.settle();
    let since = (await h.controller.readTask("a")).revision;
    for (let i = 0; i < 3; i += 1) {
      await h.controller.deleteTask("a");
      await h.launch("a");
      await h.settle();
    }
    for (let i = 0; i < 3; i += 1) {
      const watching = watch(h, "a", { sinceRevision: since });
      await watching.over;
      expect(watching.lines).toEqual(["Pending", "Running", "Completed"]);
      since = watching.lastRevision;
    }
    expect(since).toBe((await h.controller.readTask("a")).revision);
  });
});

describe("a slow reader", () => {
  test("sees every transition, and of a storm of progress only the newest", async () => {
    await using h = await openHarness();
    await running(h);
    const slow = new Puller(h.controller.watchTask("a", { includeLogs: true }));
    expect(await slow.next()).toBe("Running");
    const restarts = 40;
    for (let i = 1; i <= restarts; i += 1) {
      const phase = await h.runner.phase("a");
      for (let step = 1; step <= 50; step += 1) await phase.task.setProgress({ current: i, total: step });
      await phase.task.addLogEntry("info", `run ${i}`);
      await h.launch("a");
      phase.stop();
    }
    (await h.runner.phase("a")).return();
    await h.settle();
    const lines = await slow.rest();
    const states = lines.map((line) => line.split(" ")[0]);
    expect(states).toEqual([...Array.from({ length: restarts }, () => ["Pending", "Running"]).flat(), "Completed"]);
    expect(slow.changes.flatMap(({ logs }) => logs.map(({ seq }) => Number(seq)))).toEqual(
      Array.from({ length: restarts }, (_, i) => i + 1),
    );
  });
});

describe("a watch ends", () => {
  test("without an error when its signal is aborted, before it begins, while it waits and while it is read", async () => {
    await using h = await openHarness();
    const phase = await running(h);
    for (const when of ["before", "while it waits", "while it waits out a progress"]) {
      const leaving = new AbortController();
      if (when === "before") leaving.abort();
      const watching = watch(h, "a", { signal: leaving.signal });
      await h.settle();
      if (when.endsWith("progress")) await phase.task.setProgress({ current: 1 });
      await h.settle();
      leaving.abort();
      await watching.over;
      expect(watching.error, when).toBeUndefined();
      expect(watching.lines, when).toEqual(when === "before" ? [] : ["Running"]);
      expect(getEventListeners(leaving.signal, "abort"), when).toEqual([]);
    }
    phase.return();
  });

  test("with UNAVAILABLE, DRAINING, when the controller closes", async () => {
    const h = await openHarness();
    await running(h);
    const watches = [watch(h, "a"), watch(h, "nobody", { waitForLaunch: true })];
    const never = h.controller.watchTask("a");
    await h.settle();
    await h.close();
    await Promise.all(watches.map(({ over }) => over));
    for (const { error } of [...watches, await failing(new Watching(never))]) {
      expect(error).toMatchObject({ code: "UNAVAILABLE", details: { reason: "DRAINING", retryDelayMs: 1_000 } });
    }
    expect(() => h.controller.watchTask("a")).toThrow(expect.objectContaining({ code: "UNAVAILABLE" }));
    expect(h.clock.pending()).toBe(0);
  });

  test("with RESOURCE_EXHAUSTED before it begins, where there are too many; and makes room when it is left", async () => {
    await using h = await openHarness({ limits: { watchersMax: 3 } });
    const phase = await running(h);
    const open = [1, 2, 3].map(() => new Puller(h.controller.watchTask("a")));
    for (const puller of open) expect(await puller.next()).toBe("Running");
    const leaving = new AbortController();
    const refused = await failing(new Watching(h.controller.watchTask("a", { signal: leaving.signal })));
    expect(refused.error).toMatchObject({
      code: "RESOURCE_EXHAUSTED",
      details: { reason: "LIMIT", metadata: { limit: "watchers_max", value: "3" } },
    });
    expect(getEventListeners(leaving.signal, "abort")).toEqual([]);
    await open[1]?.leave();
    const watching = watch(h, "a");
    phase.return();
    await watching.over;
    expect(watching.lines).toEqual(["Running", "Completed"]);
    for (const puller of open) await puller.leave();
  });
});

async function failing(watching: Watching): Promise<Watching> {
  await watching.over;
  return watching;
}

test.each([
  ["now and then", 4_000],
  ["all the time", 50],
])(
  "a watch of a run to come is never silent for longer than 15 s while the run before it changes %s",
  async (_, everyMs) => {
    await using h = await openHarness();
    const phase = await running(h);
    const { runId } = await h.launch("a");
    const watching = watch(h, "a", { runId });
    await h.settle();
    expect(watching.take()).toEqual(["bookmark"]);
    for (let silentMs = 0, current = 0; current * everyMs < 60_000; ) {
      await phase.task.setProgress({ current: (current += 1) });
      await h.clock.advance(everyMs);
      const bookmarks = watching.changes.splice(0);
      silentMs = bookmarks.length > 0 ? 0 : silentMs + everyMs;
      expect(silentMs).toBeLessThanOrEqual(15_000);
      for (const { revision, status } of bookmarks) {
        expect(status).toBeUndefined();
        expect(revision).toBeLessThanOrEqual(h.disk.revision());
        expect(revision).toBeGreaterThan(h.disk.revision() - 5n);
      }
    }
    phase.stop();
    (await h.runner.phase("a")).return();
    await watching.over;
    expect(watching.lines.map((line) => line.split(" ")[0])).toEqual(["Pending", "Running", "Completed"]);
  },
);
