import { describe, expect, test } from "vitest";
import { endedKey, logKey, trashKey } from "../../src/store/keys.ts";
import type { Store } from "../../src/store/store.ts";
import { createHarness, type Harness, openHarness, refusal } from "../support/controller-harness.ts";
import { damageEntries } from "../support/damaged-store.ts";
import { FaultPlan, FaultStore } from "../support/fault-store.ts";

async function finish(h: Harness, ...ids: string[]): Promise<void> {
  for (const id of ids) {
    await h.launch(id);
    (await h.runner.phase(id)).return();
    await h.settle();
  }
}

describe("by default, ended tasks", () => {
  test("are there until the controller is opened next, and gone with all that belonged to them", async () => {
    await using h = await openHarness({ retention: {} });
    await h.launch("done", { metadata: { text: "x".repeat(3_000) }, labels: { l: "1" } });
    const done = await h.runner.phase("done");
    await done.task.addLogEntry("info", "entry");
    done.return("y".repeat(3_000));
    await h.launch("failed");
    (await h.runner.phase("failed")).throw(new Error("no"));
    await h.launch("canceled");
    await h.controller.cancelTask("canceled");
    (await h.runner.phase("canceled")).stop();
    await h.launch("alive");
    await h.clock.advance(30 * 24 * 3_600_000);
    expect(await h.states("done", "failed", "canceled", "alive")).toEqual([
      "Completed",
      "Failed",
      "Canceled",
      "Running",
    ]);
    await h.crash();
    expect(await h.controller.listTasks()).toEqual(["alive"]);
    await h.settle();
    for (const prefix of ["/payloads/", "/logs/", "/trash/", "/index/label/", "/index/ended/"])
      expect(await h.keys(prefix)).toEqual([]);
    expect((await refusal(h.controller.taskStatus("done"))).code).toBe("NOT_FOUND");
  });

  test("are cleaned after the runner was told of them, which the opening waits for", async () => {
    await using h = await openHarness({ retention: {} });
    h.runner.scripts.completed = "hold";
    await h.launch("a");
    (await h.runner.phase("a")).return();
    await h.runner.phase("a", "completed");
    h.handle.cut();
    h.runner.abandon();
    const opening = h.open();
    const completed = await h.runner.phase("a", "completed");
    expect(await h.stored("a")).toBeDefined();
    completed.return();
    await opening;
    expect(await h.controller.listTasks()).toEqual([]);
  });

  test("that end while the controller opens are kept: nobody has seen them yet", async () => {
    await using h = await openHarness({ retention: {} });
    await h.launch("canceled");
    await h.launch("resumed");
    await h.runner.phase("canceled");
    await h.controller.cancelTask("canceled", { reason: "why" });
    h.runner.scripts.running = () => "done at once";
    await h.crash();
    await h.settle();
    expect(await h.states("canceled", "resumed")).toEqual(["Canceled", "Completed"]);
    await h.crash();
    expect(await h.controller.listTasks()).toEqual([]);
  });

  test("are all cleaned, however many there are", async () => {
    await using h = await openHarness({ retention: {} });
    h.runner.scripts.running = () => undefined;
    for (let i = 0; i < 700; i += 1) await h.launch(`t${i}`);
    await h.settle();
    await h.crash();
    expect(await h.controller.listTasks()).toEqual([]);
    expect((await h.controller.countTasks()).size).toBe(0);
  });
});

describe("with a time to keep them, ended tasks", () => {
  const hour = 3_600_000;

  test("are swept that long after their end, and not before", async () => {
    await using h = await openHarness({ retention: { afterEndMs: 24 * hour } });
    await finish(h, "a");
    await h.clock.advance(hour);
    await finish(h, "b");
    await h.launch("alive");
    await h.crash();
    await h.clock.advance(23 * hour - 1);
    expect(await h.controller.listTasks()).toEqual(["a", "alive", "b"]);
    await h.clock.advance(10_001);
    expect(await h.controller.listTasks()).toEqual(["alive", "b"]);
    await h.clock.advance(hour);
    expect(await h.controller.listTasks()).toEqual(["alive"]);
  });

  test.each(["launched again", "ended again"] as const)(
    "are not swept where they are %s in the very moment that the sweep has found them",
    async (state) => {
      const plan = new FaultPlan();
      await using h = await openHarness({
        retention: { afterEndMs: hour },
        wrap: (store) => new FaultStore(store, plan),
      });
      await finish(h, "a");
      await h.clock.advance(hour - 10_000);
      if (state === "ended again") h.runner.scripts.running = () => "at once";
      plan.add({ at: plan.counts.commit + 1, of: "commit", kind: "late" });
      const launching = h.launch("a");
      // The sweep finds the task, and takes its turn behind the launch.
      await h.clock.advance(30_000);
      expect(plan.isFailing, "the launch's commit hangs").toBe(true);
      plan.heal();
      const { runId } = await launching;
      await h.clock.advance(5_000);
      expect((await h.stored("a"))?.status.runId).toBe(runId);
      expect(await h.state("a")).toBe(state === "ended again" ? "Completed" : "Running");
    },
  );

  test("are not swept once they run again", async () => {
    await using h = await openHarness({ retention: { afterEndMs: hour } });
    await finish(h, "a");
    await h.clock.advance(hour - 1_000);
    await h.launch("a");
    await h.clock.advance(hour);
    expect(await h.state("a")).toBe("Running");
    (await h.runner.phase("a")).return();
    await h.clock.advance(hour - 10_000);
    expect(await h.state("a")).toBe("Completed");
    await h.clock.advance(30_000);
    expect(await h.controller.listTasks()).toEqual([]);
  });

  test("are swept in pages, in commits of a bounded size, while other calls go on", async () => {
    await using h = await openHarness({ retention: { afterEndMs: 0 } });
    h.runner.scripts.running = () => undefined;
    for (let i = 0; i < 400; i += 1) await h.launch(`t${i}`);
    const sizes: number[] = [];
    const { disk } = h;
    const commit = disk.commit.bind(disk);
    disk.commit = (changes, conditions) => {
      sizes.push(changes.length);
      return commit(changes, conditions);
    };
    await h.clock.advance(10_000);
    expect(await h.controller.listTasks()).toEqual([]);
    expect(sizes.length).toBeGreaterThanOrEqual(400);
    expect(Math.max(...sizes)).toBeLessThan(50);
  });

  test("that nobody was told of yet are kept, and stand in nobody's way", async () => {
    await using h = await openHarness({ retention: { afterEndMs: 0 } });
    h.runner.scripts.completed = (phase) => (phase.taskId === "a" ? phase.settled : undefined);
    await finish(h, "a", "b");
    await h.clock.advance(10_000);
    expect(await h.controller.listTasks()).toEqual(["a"]);
    await h.clock.advance(30_000);
    expect(await h.controller.listTasks()).toEqual([]);
  });

  test("are swept where an entry that one of them has, or that is left of one, is damaged", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = (phase) => (phase.taskId === "untold" ? phase.settled : undefined);
    const ended = endedKey("tests", 1_000, "ghost");
    await h.disk.commit([{ type: "index", key: ended, value: new Uint8Array(0) }]);
    await finish(h, "untold", "told");
    const isDamaged = (key: string): boolean => key === ended || key.startsWith("/deliveries/tests/untold/");
    const wrap = (store: Store): Store => damageEntries(store, isDamaged);
    await h.crash({ retired: true, retention: { afterEndMs: hour }, wrap });
    await h.clock.advance(hour + 20_000);
    // Its end is kept to be told, whatever the entry's bytes are: that it is there says so.
    expect(await h.controller.listTasks()).toEqual(["untold"]);
    expect(await h.keys("/index/ended/")).toHaveLength(1);
    expect(h.messages("warn").filter((message) => message.includes("sweep"))).toEqual([]);
    await h.controller.deleteTask("untold");
  });

  test("whose log is long are gone with it, in steps, over a crash too", async () => {
    await using h = await openHarness({ retention: { afterEndMs: 0 } });
    await h.launch("a");
    const phase = await h.runner.phase("a");
    for (let i = 0; i < 300; i += 1) await phase.task.addLogEntry("info", "x");
    phase.return();
    await h.settle();
    expect((await h.keys("/logs/")).length).toBe(300);
    // The task's deletion, and the first step of its log's.
    h.handle.cutAtCommit(3, { applied: true });
    await h.clock.advance(10_000);
    expect([h.handle.isCut, (await h.keys("/trash/")).length]).toEqual([true, 1]);
    await h.crash();
    await h.settle();
    expect(await h.keys("/logs/")).toEqual([]);
    expect(await h.keys("/trash/")).toEqual([]);
  });

  test("and whose logs are many are gone with them, a bounded number at one time", async () => {
    await using h = await openHarness();
    await h.close();
    const names = Array.from({ length: 500 }, (_, i) => `t${i}`);
    const entries = [
      ...names.map((name) => trashKey("tests", name, "g", 1n)),
      ...names.map((name) => logKey("tests", name, "g", 1n)),
    ];
    await h.disk.commit(entries.map((key) => ({ type: "index", key, value: new Uint8Array(0) })));
    let [underWay, most] = [0, 0];
    const { disk } = h;
    const scan = disk.scan.bind(disk);
    disk.scan = async (options) => {
      if (options.prefix.startsWith("/logs/")) most = Math.max(most, (underWay += 1));
      await Promise.resolve();
      const page = await scan(options);
      if (options.prefix.startsWith("/logs/")) underWay -= 1;
      return page;
    };
    await h.open();
    await h.launch("a");
    await h.settle();
    expect([await h.keys("/logs/"), await h.keys("/trash/")]).toEqual([[], []]);
    expect([most > 1, most <= 64]).toEqual([true, true]);
  });

  test("wait for the wall clock, which may jump, and nothing breaks", async () => {
    await using h = await openHarness({ retention: { afterEndMs: hour } });
    await finish(h, "a");
    h.clock.jumpWall(-10 * hour);
    await finish(h, "b");
    await h.clock.advance(2 * hour);
    expect(await h.controller.listTasks()).toEqual(["a"]);
    h.clock.jumpWall(10 * hour);
    await h.clock.advance(10_000);
    expect(await h.controller.listTasks()).toEqual([]);
  });
});

test("a retention that is no time is refused", async () => {
  const h = await createHarness();
  for (const afterEndMs of [-1, Number.NaN]) {
    expect((await refusal(h.open({ retention: { afterEndMs } }))).details.violations?.[0]?.field).toBe(
      "retention.afterEndMs",
    );
  }
});
