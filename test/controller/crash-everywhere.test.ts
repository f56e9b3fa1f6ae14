import { describe, expect, test } from "vitest";
import { createHarness, type Harness } from "../support/controller-harness.ts";
import type { Phase } from "../support/scripted-runner.ts";

/** What was acknowledged before the process died. */
class Acknowledged {
  readonly launches: string[] = [];
  readonly ends: Array<[string, number]> = [];
  canceled = false;
  deleted = false;
  progress = 0n;
  entries = 0;
}

type Scenario = (h: Harness, acked: Acknowledged) => Promise<void>;

async function launch(h: Harness, acked: Acknowledged, options = {}): Promise<void> {
  acked.launches.push((await h.launch("a", options)).runId);
}

async function work(phase: Phase, acked: Acknowledged): Promise<void> {
  await phase.task.setProgress({ current: 1 });
  acked.progress = 1n;
  await phase.task.addLogEntry("info", "one");
  acked.entries = 1;
  await Promise.all([phase.task.setProgress({ current: 2 }), phase.task.addLogEntry("info", "two")]);
  acked.progress = 2n;
  acked.entries = 2;
}

const large = { metadata: { text: "m".repeat(3_000) }, labels: { l: "1" } };

// Each is a life of task "a" and a neighbour; the process dies at its every commit.
const scenarios: Record<string, Scenario> = {
  "work and completion": async (h, acked) => {
    await launch(h, acked, { ...large, requestId: "r" });
    const phase = await h.runner.phase("a");
    await work(phase, acked);
    phase.return("r".repeat(3_000));
  },
  "a failure and a relaunch": async (h, acked) => {
    await launch(h, acked, large);
    const first = await h.runner.phase("a");
    await first.task.addLogEntry("info", "zero");
    first.throw(new Error("no"));
    await h.settle();
    await launch(h, acked, { labels: { l: "2" } });
    (await h.runner.phase("a")).return();
  },
  "a cancel": async (h, acked) => {
    await launch(h, acked, large);
    const phase = await h.runner.phase("a");
    await work(phase, acked);
    await h.controller.cancelTask("a", { reason: "why" });
    acked.canceled = true;
    await h.settle();
    phase.stop();
  },
  "a restart, replaced by another": async (h, acked) => {
    await launch(h, acked, large);
    const phase = await h.runner.phase("a");
    await work(phase, acked);
    await launch(h, acked, { requestId: "r1" });
    await launch(h, acked, { requestId: "r2", metadata: { n: 2 } });
    phase.stop();
    (await h.runner.phase("a")).return();
  },
  "a cancel, and a launch on top of it": async (h, acked) => {
    await launch(h, acked, large);
    const phase = await h.runner.phase("a");
    await h.controller.cancelTask("a");
    await launch(h, acked, { metadata: { n: 2 } });
    phase.stop();
    (await h.runner.phase("a")).return();
  },
  "an end, a deletion and a new task": async (h, acked) => {
    await launch(h, acked, large);
    const phase = await h.runner.phase("a");
    await phase.task.addLogEntry("info", "x");
    phase.return("r".repeat(3_000));
    await h.settle();
    await h.controller.deleteTask("a");
    acked.deleted = true;
    acked.launches.length = 0;
    await launch(h, acked, { labels: { l: "2" } });
    acked.deleted = false;
    (await h.runner.phase("a")).return();
  },
  "waiting, a restart and a cancel while it waits": async (h, acked) => {
    await h.launch("busy");
    await launch(h, acked, large);
    await launch(h, acked, { labels: { l: "2" } });
    await h.controller.cancelTask("a");
    acked.canceled = true;
    (await h.runner.phase("busy")).return();
  },
  "a closing": async (h, acked) => {
    await launch(h, acked, large);
    await work(await h.runner.phase("a"), acked);
    const closing = h.controller.close();
    (await h.runner.phase("a")).stop();
    await closing;
  },
};

describe("the process dies at every commit of", () => {
  test.each(Object.entries(scenarios))("%s, and nothing that was acknowledged is lost", async (name, scenario) => {
    const deaths = { count: 0 };
    for (const applied of [false, true]) {
      for (let nth = 1; ; nth += 1) {
        const h = await createHarness({ concurrency: name.startsWith("waiting") ? 1 : 10 });
        await h.open();
        h.handle.cutAtCommit(nth, { applied });
        const acked = new Acknowledged();
        const life = scenario(h, acked).catch(() => {});
        await Promise.race([life, h.settle().then(() => h.settle())]);
        await h.settle();
        if (!h.handle.isCut) break;
        deaths.count += 1;
        await survive(h, acked);
      }
    }
    // Were there no deaths, the test would have said nothing.
    expect(deaths.count).toBeGreaterThanOrEqual(8);
  });
});

async function survive(h: Harness, acked: Acknowledged): Promise<void> {
  const before = await h.stored("a");
  const endedOnDisk = before !== undefined && before.status.state > 2 ? before.status.runId : undefined;
  await h.crash();
  await h.settle();
  await h.check();
  const stored = await h.stored("a");
  const last = acked.launches.at(-1);
  if (last !== undefined && !acked.deleted) {
    expect(stored).toBeDefined();
    // The run that was acknowledged last, or one whose launch was under way.
    if (before?.status.runId === last) expect(stored?.status.runId).toBe(last);
    if (acked.canceled) expect(stored?.status.state).toBe(6);
    const [first] = acked.launches;
    if (stored?.status.runId === first) {
      expect(stored?.status.progress?.current ?? 0n).toBeGreaterThanOrEqual(acked.progress);
      expect(Number(stored?.status.logCount)).toBeGreaterThanOrEqual(acked.entries);
    }
  }
  const active = stored !== undefined && stored.status.state <= 2;
  if (active) {
    // Whatever was alive is started again, with one attempt at a time.
    (await h.runner.phase("a")).return("after the crash");
    await h.settle();
    expect(await h.state("a")).toBe("Completed");
  }
  if (endedOnDisk !== undefined && stored?.status.runId === endedOnDisk) {
    expect(
      h.runner.all("a", "completed").filter((phase) => phase.context.runId === endedOnDisk).length,
    ).toBeGreaterThanOrEqual(1);
  }
  // A launch that was acknowledged took place, even where it had to wait for the run before.
  if (last !== undefined && !acked.canceled && !acked.deleted) {
    const runs = h.runner.phases.filter((phase) => phase.taskId === "a").map((phase) => phase.context.runId);
    expect(runs).toContain(last);
  }
  await h.settle();
  await h.check();
  const closing = h.controller.close();
  for (const phase of h.runner.phases) if (!phase.isSettled && phase.signal.aborted) phase.stop();
  await closing;
}
