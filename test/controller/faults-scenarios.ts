/** What clients do while the store fails: each is a script that reaches the same end, whatever fails in it. */
import { expect } from "vitest";
import { sleep } from "../../src/clock.ts";
import type { ControllerOptions } from "../../src/controller/open-controller.ts";
import { ControllerError } from "../../src/controller/error.ts";
import { isEnded, stateName } from "../../src/task/state.ts";
import type { World } from "./faults-world.ts";

export interface Scenario {
  readonly name: string;
  readonly options?: Partial<ControllerOptions>;
  /** It is about the pending phase, too. */
  readonly prepares?: true;
  run(world: World): Promise<void>;
}

async function expectState(world: World, taskId: string, state: string): Promise<void> {
  expect(stateName((await world.untilEnded(taskId)).state), taskId).toBe(state);
}

const big = "m".repeat(3_000);

export const scenarios: readonly Scenario[] = [
  {
    name: "a task runs to its end, with progress and log entries, while somebody watches",
    async run(world) {
      const follow = world.follow("a");
      await world.launch("a", { steps: 4 });
      await expectState(world, "a", "Completed");
      await follow.ended;
      const status = await world.status("a");
      expect(status.progress?.current).toBe(4n);
      expect(status.logCount).toBeGreaterThanOrEqual(4n);
      expect(follow.logs.length).toBe(Number(status.logCount));
    },
  },
  {
    name: "somebody watches through the store",
    async run(world) {
      const follow = world.followStore();
      await world.launch("a", { steps: 2 });
      await expectState(world, "a", "Completed");
      await world.launch("a", { steps: 1, fail: true });
      await expectState(world, "a", "Failed");
      await follow.leaveAfter((await world.stored("a"))?.revision ?? 0n);
    },
  },
  {
    name: "a live task is launched anew",
    async run(world) {
      await world.launch("a", { steps: 2, gate: true });
      await world.until("a", ({ progress }) => (progress?.current ?? 0n) === 2n);
      const follow = world.follow("a");
      const second = await world.launch("a", { steps: 3 });
      await world.until("a", ({ runId }) => runId === second.runId);
      await expectState(world, "a", "Completed");
      await follow.ended;
      expect((await world.status("a")).progress?.current).toBe(3n);
    },
  },
  {
    name: "a running task is canceled",
    async run(world) {
      await world.launch("a", { steps: 1, gate: true });
      await world.untilRunning("a");
      const follow = world.follow("a");
      await world.cancel("a");
      await expectState(world, "a", "Canceled");
      await follow.ended;
      const { cancel } = await world.status("a");
      expect(cancel?.requestedAt).toBeDefined();
    },
  },
  {
    name: "a task that waits is canceled, and never runs",
    options: { concurrency: 1 },
    async run(world) {
      await world.launch("a", { gate: true });
      await world.untilRunning("a");
      await world.launch("b", { steps: 1 });
      await world.cancel("b");
      await expectState(world, "b", "Canceled");
      expect(world.fences.has("b")).toBe(false);
      world.openGate("a");
      await expectState(world, "a", "Completed");
    },
  },
  {
    name: "a launch is repeated with its request id",
    async run(world) {
      const first = await world.launch("a", { steps: 1 }, { requestId: "r" });
      const second = await world.launch("a", { steps: 1 }, { requestId: "r" });
      await expectState(world, "a", "Completed");
      const third = await world.launch("a", { steps: 1 }, { requestId: "r" });
      expect([second.runId, third.runId]).toEqual([first.runId, first.runId]);
      expect(third.outcome).toBe("launched");
      const reused = world.launch("a", { steps: 2 }, { requestId: "r" });
      await expect(reused).rejects.toMatchObject({ code: "ALREADY_EXISTS" });
      const existing = await world.launch("a", { steps: 9 }, { ifEnded: "use-existing", requestId: "s" });
      const again = await world.launch("a", { steps: 9 }, { ifEnded: "use-existing", requestId: "s" });
      expect([existing.outcome, again.outcome]).toEqual(["used-existing", "used-existing"]);
    },
  },
  {
    name: "a task that failed is launched again, with metadata as large as before",
    async run(world) {
      await world.launch("a", { steps: 1, fail: true, filler: big }, { labels: { env: "test" } });
      await expectState(world, "a", "Failed");
      for (const attempt of ["second", "third"]) {
        await world.launch("a", { steps: 1, fail: true, filler: big }, { labels: { attempt } });
        await expectState(world, "a", "Failed");
      }
      await world.launch("a", { steps: 2, resultBytes: 5_000 }, { labels: { env: "test" } });
      await expectState(world, "a", "Completed");
      const status = await world.status("a");
      expect(status.result?.length).toBeGreaterThan(5_000);
      expect(status.metadata).toBe('{"steps":2,"resultBytes":5000}');
    },
  },
  {
    name: "the controller is closed and opened again while tasks run and wait",
    prepares: true,
    options: { concurrency: 2 },
    async run(world) {
      const follow = world.follow("a");
      await world.launch("a", { steps: 2, gate: true });
      await world.launch("b", { pendingGate: true });
      await world.launch("c", { steps: 1 });
      await world.until("a", ({ progress }) => (progress?.current ?? 0n) === 2n);
      await world.close();
      await world.reopen();
      for (const taskId of ["a", "b"]) world.openGate(taskId);
      for (const taskId of ["a", "b", "c"]) await expectState(world, taskId, "Completed");
      await follow.ended;
      const status = await world.status("a");
      expect(status.attempt).toBeGreaterThanOrEqual(2);
      expect(status.progress?.current).toBe(2n);
    },
  },
  {
    name: "the runner is told of an end before the task is launched again",
    async run(world) {
      await world.launch("a", { completedMs: 400 });
      await expectState(world, "a", "Completed");
      const follow = world.follow("a");
      await follow.ended;
      const second = await world.launch("a", { steps: 1, completedMs: 400 });
      await world.until("a", ({ runId, state }) => runId === second.runId && isEnded(state));
      await world.close();
      await world.reopen();
    },
  },
  {
    name: "what has ended is swept",
    options: { retention: { afterEndMs: 30_000 } },
    async run(world) {
      await world.launch("a", { steps: 3 });
      await world.launch("b", { gate: true });
      await expectState(world, "a", "Completed");
      world.acknowledged.deleted.add("a");
      while ((await world.stored("a")) !== undefined) await sleep(world.clock, 1_000);
      world.openGate("b");
      await expectState(world, "b", "Completed");
      await world.launch("a", { steps: 1 });
      await expectState(world, "a", "Completed");
    },
  },
  {
    name: "a task is deleted, and made anew",
    async run(world) {
      await world.launch("a", { steps: 3, filler: big, resultBytes: 2_000 });
      await expectState(world, "a", "Completed");
      await world.delete("a");
      const absent = world.call((controller) => controller.readTask("a"));
      await expect(absent).rejects.toMatchObject({ code: "NOT_FOUND" });
      world.acknowledged.deleted.delete("a");
      await world.launch("a", { steps: 1 });
      await expectState(world, "a", "Completed");
    },
  },
  {
    name: "three tasks wait for one of two places",
    options: { concurrency: 2 },
    async run(world) {
      for (const taskId of ["a", "b", "c", "d", "e"]) await world.launch(taskId, { gate: true });
      expect((await world.call((controller) => controller.countTasks())).size).toBeGreaterThan(0);
      for (const taskId of ["b", "a", "d", "c", "e"]) {
        world.openGate(taskId);
        await expectState(world, taskId, "Completed");
      }
      const page = await world.call((controller) => controller.queryTasks({ states: [3] }));
      expect(page.tasks.map(({ taskId }) => taskId)).toEqual(["a", "b", "c", "d", "e"]);
      expect(page.totalSize).toBe(5n);
    },
  },
  {
    name: "the process dies while a run prepares, runs, is to be canceled and is to be replaced",
    prepares: true,
    options: { concurrency: 3 },
    async run(world) {
      const follow = world.follow("a");
      await world.launch("a", { steps: 3, gate: true });
      await world.launch("b", { pendingGate: true });
      await world.launch("c", { gate: true });
      await world.launch("d", { steps: 1 });
      await world.until("a", ({ progress }) => (progress?.current ?? 0n) >= 2n);
      await world.crash();
      const second = await world.launch("c", { steps: 1 });
      await world.cancel("b");
      await world.crash();
      world.openGate("a");
      for (const [taskId, state] of [
        ["a", "Completed"],
        ["b", "Canceled"],
        ["d", "Completed"],
      ] as const) {
        await expectState(world, taskId, state);
      }
      await world.until("c", ({ runId, state }) => runId === second.runId && isEnded(state));
      await follow.ended;
      expect((await world.status("a")).progress?.current).toBe(3n);
    },
  },
  {
    name: "a launch that waits to replace a run is replaced, and then canceled with it",
    async run(world) {
      await world.launch("a", { gate: true, completedMs: 300 });
      await world.untilRunning("a");
      await world.launch("a", { steps: 9, gate: true });
      await world.launch("a", { steps: 1, gate: true });
      await world.cancel("a");
      await expectState(world, "a", "Canceled");
      await world.launch("a", { steps: 2 });
      await expectState(world, "a", "Completed");
    },
  },
  {
    name: "a refused call changes nothing, and is refused again",
    async run(world) {
      await world.launch("a", { gate: true });
      await world.untilRunning("a");
      const before = (await world.status("a")).runId;
      const refusals = [
        () => world.launch("a", {}, { ifActive: "fail" }),
        () => world.launch("a", {}, { ifRevision: 1_000_000n }),
        () => world.call((controller) => controller.cancelTask("a", { runId: "another" })),
        () => world.call((controller) => controller.deleteTask("a")),
        () => world.call((controller) => controller.cancelTask("absent")),
      ];
      for (const refusal of refusals) await expect(refusal()).rejects.toBeInstanceOf(ControllerError);
      expect((await world.status("a")).runId).toBe(before);
      world.openGate("a");
      await expectState(world, "a", "Completed");
    },
  },
  {
    name: "many are launched at one time, and their logs are read",
    options: { concurrency: 3 },
    async run(world) {
      const taskIds = ["a", "b", "c", "d"];
      await world.launchMany(taskIds, { steps: 2 });
      for (const taskId of taskIds) await expectState(world, taskId, "Completed");
      for (const taskId of taskIds) {
        const { entries } = await world.call((controller) => controller.taskLogs(taskId));
        const seqs = entries.map(({ seq }) => Number(seq));
        expect(seqs, taskId).toEqual(seqs.map((_, i) => i + 1));
        expect(seqs.length, taskId).toBeGreaterThanOrEqual(2);
      }
    },
  },
  {
    name: "somebody waits for a task, and somebody watches all",
    async run(world) {
      const list = world.followList();
      await world.launch("a", { steps: 2 });
      const { done } = await world.call((controller) => controller.waitTask("a"));
      expect(done).toBe(true);
      await world.launch("b", { gate: true });
      await world.untilRunning("b");
      await world.cancel("b");
      await expectState(world, "b", "Canceled");
      await list.leaveAfter(await world.lastRevision("b"));
      expect([...list.states].map(([taskId, state]) => `${taskId} ${stateName(state)}`).sort()).toEqual([
        "a Completed",
        "b Canceled",
      ]);
    },
  },
];
