import { describe, expect, test } from "vitest";
import type { TaskRunner } from "../../src/controller/task-runner.ts";
import type { Change } from "../../src/store/store.ts";
import { type Harness, openHarness } from "../support/controller-harness.ts";
import { refusingCommits } from "../support/refusing-store.ts";

async function crashes(h: Harness, taskId: string): Promise<number> {
  return (await h.controller.taskStatus(taskId)).crashCount;
}

/** Lets the process die in so many attempts of the task "a". */
async function die(h: Harness, times: number, phase: "pending" | "running" = "running"): Promise<void> {
  for (let i = 0; i < times; i += 1) {
    await h.runner.phase("a", phase);
    await h.crash();
  }
}

/** The tasks whose onTaskRunning or onTaskPending is under way. */
function underWay(h: Harness): string[] {
  return h.runner.phases.filter((phase) => !phase.isSettled && !phase.isAbandoned).map((phase) => phase.taskId);
}

describe("a task in whose attempts the process dies without progress", () => {
  test("is counted, starts alone from the third attempt on, and is parked at its third death", async () => {
    await using h = await openHarness();
    await h.launch("a");
    await h.runner.phase("a");
    expect(await crashes(h, "a")).toBe(0);
    await h.crash();
    await h.runner.phase("a");
    expect(await crashes(h, "a")).toBe(1);
    await h.crash();
    const third = await h.runner.phase("a");
    expect([await crashes(h, "a"), third.context.attempt]).toEqual([2, 3]);
    await h.crash();
    await h.settle();
    const status = await h.controller.taskStatus("a");
    expect(status).toMatchObject({ state: 4, attempt: 3, crashCount: 3, error: { reason: "CRASH_LOOP" } });
    expect(status.error?.message).toMatch(/3 times/);
    expect((await h.transitions("a")).at(-1)).toBe("Failed: parked");
    expect(h.runner.held("a")).toBeUndefined();
    expect(h.faults.counts()).toMatchObject({ crash_loops: 1, runs_interrupted: 3 });
    const [completed] = h.runner.all("a", "completed");
    expect([completed?.state, completed?.args[0]?.reason]).toEqual([4, "CRASH_LOOP"]);
    await h.crash();
    await h.settle();
    expect(await h.state("a")).toBe("Failed");
  });

  test("is not counted where its runner is isolated, and resumed each time", async () => {
    await using h = await openHarness();
    const { runner } = h;
    const isolated: TaskRunner = {
      isIsolated: true,
      onTaskPending: (task, context) => runner.onTaskPending(task, context),
      onTaskRunning: (task, context) => runner.onTaskRunning(task, context),
    };
    await h.close();
    await h.open({ runner: isolated });
    await h.launch("a");
    for (let attempt = 1; attempt <= 5; attempt += 1) {
      expect((await runner.phase("a")).context.attempt).toBe(attempt);
      await h.crash({ runner: isolated });
    }
    expect(await h.controller.taskStatus("a")).toMatchObject({ attempt: 6, crashCount: 0 });
  });

  test("is parked in one transition, which a watcher sees", async () => {
    await using h = await openHarness();
    await h.launch("a");
    await die(h, 2);
    await h.runner.phase("a");
    await h.settle();
    const { status, revision } = await h.controller.readTask("a");
    await h.crash();
    await h.settle();
    const after = await h.controller.taskStatus("a");
    expect(after.transitions.length).toBe(status.transitions.length + 1);
    const seen: unknown[] = [];
    for await (const change of h.controller.watchTask("a", { sinceRevision: revision }))
      seen.push(change.status?.state);
    expect(seen).toEqual([4]);
  });

  test("stands in no other's way where it cannot be offered", async () => {
    await using h = await openHarness();
    for (const id of ["a", "b"]) await h.launch(id);
    await die(h, 1);
    await h.runner.phase("a");
    await h.runner.phase("b");
    const isOfferOfA = ({ type, key }: Change): boolean => type === "index" && key.startsWith("/leases/tests/a/");
    await h.crash({ wrap: (store) => refusingCommits(store, (changes) => changes.some(isOfferOfA)) });
    await h.settle();
    expect(h.messages("error")).toContain("a task could not be offered; it is left waiting");
    expect(underWay(h)).toEqual(["b"]);
  });

  test("in onTaskPending is parked like one in onTaskRunning", async () => {
    await using h = await openHarness();
    h.runner.scripts.pending = "hold";
    await h.launch("a");
    await die(h, 3, "pending");
    await h.settle();
    expect(await h.state("a")).toBe("Failed");
  });

  test("is kept by the library's cleaning until the next opening", async () => {
    await using h = await openHarness({ retention: {} });
    await h.launch("a");
    await die(h, 3);
    await h.settle();
    expect((await h.controller.taskStatus("a")).error?.reason).toBe("CRASH_LOOP");
    await h.reopen();
    expect(await h.controller.listTasks()).toEqual([]);
  });

  test("is launched again by hand with a clean count", async () => {
    await using h = await openHarness();
    await h.launch("a");
    await die(h, 3);
    await h.settle();
    await h.launch("a");
    await h.runner.phase("a");
    expect(await crashes(h, "a")).toBe(0);
    await h.crash();
    await h.runner.phase("a");
    expect(await crashes(h, "a")).toBe(1);
  });
});

describe("progress", () => {
  test("clears the count at once, and a death after it starts it anew", async () => {
    await using h = await openHarness();
    await h.launch("a");
    await die(h, 2);
    await (await h.runner.phase("a")).task.setProgress({ current: 1 });
    expect(await crashes(h, "a")).toBe(0);
    await h.crash();
    await h.runner.phase("a");
    expect(await crashes(h, "a")).toBe(0);
    await h.crash();
    await h.runner.phase("a");
    expect(await crashes(h, "a")).toBe(1);
  });

  test("in every attempt keeps a task going through any number of deaths", async () => {
    await using h = await openHarness();
    await h.launch("a");
    for (let i = 1; i <= 10; i += 1) {
      await (await h.runner.phase("a")).task.setProgress({ current: i });
      await h.crash();
    }
    expect((await h.runner.phase("a")).context.attempt).toBe(11);
    expect((await h.controller.taskStatus("a")).progress?.current).toBe(10n);
  });

  test("is not a log entry, nor a closing: neither clears the count, and a closing adds nothing", async () => {
    await using h = await openHarness();
    await h.launch("a");
    await (await h.runner.phase("a")).task.addLogEntry("info", "x");
    await h.crash();
    await h.runner.phase("a");
    await h.reopen();
    await h.runner.phase("a");
    expect(await crashes(h, "a")).toBe(1);
  });
});

describe("of several suspects", () => {
  const ids = ["s1", "s2", "s3"];

  /** All three have died twice; neighbours may run beside them. */
  async function suspects(h: Harness): Promise<void> {
    for (const id of ids) await h.launch(id);
    for (let i = 0; i < 2; i += 1) {
      await h.settle();
      await h.crash();
    }
    await h.settle();
  }

  test("one starts at a time, and the next when it has ended", async () => {
    await using h = await openHarness();
    await suspects(h);
    for (const id of ids) {
      expect(underWay(h)).toEqual([id]);
      (await h.runner.phase(id)).return();
      await h.settle();
    }
    expect(await h.states(...ids)).toEqual(["Completed", "Completed", "Completed"]);
  });

  test("the next starts when the one before has made progress, in whichever commit", async () => {
    await using h = await openHarness();
    await suspects(h);
    await (await h.runner.phase("s1")).task.setProgress({ current: 1 });
    await h.settle();
    expect(underWay(h)).toEqual(["s1", "s2"]);
    await h.crash();
    // s1 has made progress, s2 has died alone in its third attempt, s3 was never tried a third time.
    await h.settle();
    expect(await h.states("s1", "s2", "s3")).toEqual(["Running", "Failed", "Running"]);
    expect([...underWay(h)].sort()).toEqual(["s1", "s3"]);
  });

  test("the next starts when the one before said its progress in onTaskPending, without waiting for it", async () => {
    await using h = await openHarness();
    await suspects(h);
    await h.crash({ runner: h.runner });
    await h.settle();
    // s1 died alone: it is parked. s2 says at once that it gets on, in the commit that starts it.
    expect(await h.state("s1")).toBe("Failed");
    await h.crash();
    await h.settle();
    expect(await h.state("s2")).toBe("Failed");
    expect(underWay(h)).toEqual(["s3"]);
  });

  test("progress that goes to disk with another commit lets the next start too", async () => {
    await using h = await openHarness();
    h.runner.scripts.pending = (phase) => {
      if (phase.taskId.startsWith("s")) void phase.task.setProgress({ current: 1 });
    };
    for (const id of ids) await h.launch(id);
    h.runner.scripts.pending = () => undefined;
    await h.settle();
    await h.crash();
    for (let i = 0; i < 2; i += 1) {
      await h.settle();
      await h.crash({});
    }
    await h.settle();
    expect(underWay(h)).toEqual(["s1"]);
    h.runner.scripts.pending = (phase) => void phase.task.setProgress({ current: 2 });
    await h.reopen();
    await h.settle();
    expect([...underWay(h)].sort()).toEqual(ids);
  });

  test("only the one that was alone is parked; the innocent go on one by one", async () => {
    await using h = await openHarness();
    await suspects(h);
    // s1 kills the process whenever it runs.
    await h.crash();
    await h.settle();
    expect(await h.states(...ids)).toEqual(["Failed", "Running", "Pending"]);
    (await h.runner.phase("s2")).return();
    (await h.runner.phase("s3")).return();
    await h.settle();
    expect(await h.states(...ids)).toEqual(["Failed", "Completed", "Completed"]);
  });

  test("one that is cancelled or launched anew while it is held back is not in the way", async () => {
    await using h = await openHarness();
    await suspects(h);
    expect((await h.controller.cancelTask("s2")).stage).toBe("ended");
    const { runId } = await h.launch("s3");
    // Launched anew it is no suspect any more.
    expect((await h.runner.phase("s3")).context.runId).toBe(runId);
    (await h.runner.phase("s1")).return();
    (await h.runner.phase("s3")).return();
    await h.settle();
    expect(await h.states(...ids)).toEqual(["Completed", "Canceled", "Completed"]);
  });

  test("100 neighbours go on while a killer is found out", async () => {
    await using h = await openHarness({ concurrency: 20 });
    const neighbours = Array.from({ length: 100 }, (_, i) => `n${i}`);
    await h.launch("killer");
    for (const id of neighbours) await h.launch(id);
    for (let rounds = 0; (await h.state("killer")) !== "Failed" && rounds < 10; rounds += 1) {
      await h.settle();
      for (const id of underWay(h)) if (id !== "killer") await h.runner.held(id)?.task.setProgress({ current: rounds });
      // The killer only kills when it runs.
      if (underWay(h).includes("killer")) await h.crash();
      await h.settle();
    }
    expect((await h.controller.taskStatus("killer")).error?.reason).toBe("CRASH_LOOP");
    for (let i = 0; i < 100; i += 1) {
      for (const id of underWay(h)) h.runner.held(id)?.return();
      await h.settle();
    }
    expect(new Set(await h.states(...neighbours))).toEqual(new Set(["Completed"]));
    const counts = await Promise.all(neighbours.map((id) => crashes(h, id)));
    expect(counts.every((count) => count === 0)).toBe(true);
  });
});
