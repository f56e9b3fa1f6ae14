/** A run whose lease is gone, or is another's, writes nothing: whatever it does next is compared in its own commit. */
import { describe, expect, test } from "vitest";
import { leaseKey } from "../../src/store/keys.ts";
import { controllerName, type Harness, openHarness } from "../support/controller-harness.ts";
import type { Phase } from "../support/scripted-runner.ts";

const noBytes = new Uint8Array(0);

/** Makes the fence of a run void, as whoever hosts the run elsewhere would: without touching the task. */
async function voidFence(h: Harness, { taskId, context }: Phase, how: "gone" | "another's"): Promise<void> {
  const key = leaseKey(controllerName, taskId, context.runId, context.attempt);
  await h.disk.commit([{ type: "unindex", key }]);
  if (how === "another's") await h.disk.commit([{ type: "index", key, value: noBytes }]);
}

// What the run does then.
const writes: ReadonlyArray<[what: string, act: (h: Harness, phase: Phase) => unknown]> = [
  ["sets progress", (_, phase) => phase.task.setProgress({ current: 9 }).catch(() => {})],
  ["adds a log entry", (_, phase) => phase.task.addLogEntry("info", "zombie").catch(() => {})],
  ["completes", (_, phase) => phase.return("zombie")],
  ["fails", (_, phase) => phase.throw(new Error("zombie"))],
  [
    "says something and completes",
    (_, phase) => {
      void phase.task.addLogEntry("info", "zombie");
      void phase.task.setProgress({ current: 9 });
      phase.return("zombie");
    },
  ],
];

describe.each(["gone", "another's"] as const)("a run whose lease is %s", (how) => {
  test.each(writes)("%s, and nothing of it is written", async (_, act) => {
    await using h = await openHarness();
    await h.launch("a");
    const phase = await h.runner.phase("a");
    await phase.task.setProgress({ current: 1 });
    await voidFence(h, phase, how);
    const revision = h.disk.revision();
    await act(h, phase);
    await h.settle();
    expect(h.disk.revision()).toBe(revision);
    expect((await h.stored("a"))?.status).toMatchObject({ state: 2, progress: { current: 1n }, logCount: 0n });
    expect([phase.signal.aborted, phase.context.runId]).toEqual([true, (await h.stored("a"))?.status.runId]);
    expect(h.messages("warn")).toContain("a run lost its fence");
    expect(h.faults.counts().fences_lost).toBe(1);
    expect(h.runner.all("a", "completed")).toEqual([]);
    await expect(phase.task.setProgress({ current: 10 })).rejects.toMatchObject({ details: { reason: "STALE_FENCE" } });
    await restore(h, phase, how);
  });

  test("does not start from onTaskPending, and its runner is not called again", async () => {
    await using h = await openHarness();
    h.runner.scripts.pending = "hold";
    await h.launch("a");
    const phase = await h.runner.phase("a", "pending");
    await voidFence(h, phase, how);
    const revision = h.disk.revision();
    phase.return();
    await h.settle();
    expect(h.disk.revision()).toBe(revision);
    expect(h.runner.calls("a")).toEqual(["pending 1"]);
    await restore(h, phase, how);
  });

  test("gives way to the launch that is stored for it, also when it finds out on its way out", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const phase = await h.runner.phase("a");
    await voidFence(h, phase, how);
    const { runId } = await h.launch("a");
    void phase.task.setProgress({ current: 9 }).catch(() => {});
    phase.stop();
    const next = await h.runner.phase("a");
    expect([next.context.runId, await h.state("a"), await h.keys("/intents/")]).toEqual([runId, "Running", []]);
    next.return();
  });

  test("that is canceled takes the launch that is stored for it along", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const phase = await h.runner.phase("a");
    await h.launch("a");
    await voidFence(h, phase, how);
    await expect(phase.task.setProgress({ current: 9 })).rejects.toMatchObject({ details: { reason: "STALE_FENCE" } });
    expect((await h.controller.cancelTask("a")).stage).toBe("ended");
    phase.stop();
    await h.settle();
    expect([await h.state("a"), await h.keys("/intents/"), h.runner.all("a", "running").length]).toEqual([
      "Canceled",
      [],
      1,
    ]);
    expect((await h.launch("a", { ifActive: "fail" })).outcome).toBe("launched");
    (await h.runner.phase("a")).return();
    const { runId, attempt } = phase.context;
    await h.disk.commit([{ type: "unindex", key: leaseKey(controllerName, "a", runId, attempt) }]);
  });

  test("hides the metadata and progress of the run after it", async () => {
    await using h = await openHarness();
    await h.launch("a", { metadata: { n: 1 } });
    const old = await h.runner.phase("a");
    await voidFence(h, old, how);
    await old.task.setProgress({ current: 9 }).catch(() => {});
    const stale = { details: { reason: "STALE_FENCE" } };
    await expect(old.task.loadTaskMetadata()).rejects.toMatchObject(stale);
    await expect(old.task.getProgress()).rejects.toMatchObject(stale);
    await restore(h, old, how);
  });

  test("does not give it up at a closing", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const phase = await h.runner.phase("a");
    await voidFence(h, phase, how);
    const revision = h.disk.revision();
    await h.close();
    expect(h.disk.revision()).toBe(revision);
    expect(await h.keys("/released/")).toEqual([]);
    await restore(h, phase, how);
    await h.open();
  });
});

/** Gives the disk back what an opening goes by. */
async function restore(h: Harness, { taskId, context }: Phase, how: "gone" | "another's"): Promise<void> {
  const key = leaseKey(controllerName, taskId, context.runId, context.attempt);
  if (how === "gone") await h.disk.commit([{ type: "index", key, value: noBytes }]);
}
