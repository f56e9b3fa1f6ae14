import { describe, expect, test } from "vitest";
import { taskKey } from "../../src/store/keys.ts";
import { controllerName, type Harness, observed, openHarness, refusal } from "../support/controller-harness.ts";
import { damageEntries } from "../support/damaged-store.ts";
import { FaultPlan, FaultStore } from "../support/fault-store.ts";

/** Task "bad" in a state, with everything that a task can have, and task "good" beside it. */
async function bring(h: Harness, state: "Pending" | "Running" | "Completed"): Promise<void> {
  await h.launch("good", { labels: { env: "x" } });
  await h.launch("bad", { labels: { env: "x", "a/b": "c/d" }, metadata: { text: "m".repeat(5_000) }, requestId: "r" });
  if (state === "Pending") return;
  const phase = await h.runner.phase("bad");
  for (let i = 0; i < 5; i += 1) await phase.task.addLogEntry("info", `entry ${i}`);
  if (state === "Running") return;
  phase.return("r".repeat(5_000));
  await h.settle();
}

async function overwrite(h: Harness, taskId: string, value: Uint8Array): Promise<void> {
  await h.disk.commit([{ type: "put", key: taskKey(controllerName, taskId), value }]);
}

const garbage: ReadonlyArray<[string, Uint8Array]> = [
  ["bytes that are no message", new Uint8Array([0xff, 0xff, 0xff, 0xff])],
  ["a length that is not there", new Uint8Array([0x1a, 0x7f, 0x00])],
  ["text", new TextEncoder().encode("hello world, this is no task")],
];

describe("a task whose record is damaged", () => {
  test.each(garbage)("by %s is DATA_LOSS to everybody, and never NOT_FOUND", async (_, bytes) => {
    await using h = await openHarness();
    await bring(h, "Completed");
    await overwrite(h, "bad", bytes);
    const calls = [
      h.controller.taskStatus("bad"),
      h.controller.cancelTask("bad"),
      h.launch("bad"),
      h.launch("bad", { ifEnded: "use-existing" }),
      h.launch("bad", { ifRevision: 0n }),
      h.controller.watchTask("bad")[Symbol.asyncIterator]().next(),
    ];
    for (const call of calls) {
      const error = await refusal(call);
      expect([error.code, error.details.reason]).toEqual(["DATA_LOSS", "CORRUPT"]);
    }
    expect(await h.state("good")).toBe("Running");
    expect(await h.controller.listTasks()).toEqual(["bad", "good"]);
    expect(await h.query()).toEqual(["good"]);
    expect(await h.query({ order: "newest" })).toEqual(["good"]);
    expect(await h.query({ labels: { env: "x" } })).toEqual(["good"]);
    await h.controller.deleteTask("bad");
  });

  test.each(["Pending", "Running", "Completed"] as const)(
    "and was %s leaves nothing behind when it is deleted, and can be launched anew",
    async (state) => {
      await using h = await openHarness({ concurrency: state === "Pending" ? 1 : 2 });
      await bring(h, state);
      await h.crash();
      await h.settle();
      // Damaged while no controller has it in memory.
      await h.close();
      await overwrite(h, "bad", garbage[0]?.[1] as Uint8Array);
      await h.open({ retention: { afterEndMs: 0 } });
      await h.settle();
      expect((await refusal(h.controller.taskStatus("bad"))).code).toBe("DATA_LOSS");
      expect(await h.state("good")).toBe("Running");
      await h.clock.advance(60_000);
      expect(await h.controller.listTasks()).toEqual(["bad", "good"]);

      await h.controller.deleteTask("bad");
      expect(await h.controller.listTasks()).toEqual(["good"]);
      await h.check();
      expect(
        (
          await refusal(
            h.launch("bad", {
              labels: { env: "x", "a/b": "c/d" },
              metadata: { text: "m".repeat(5_000) },
              requestId: "r",
            }),
          )
        ).code,
      ).toBe("NOT_FOUND");
      (await h.runner.phase("good")).return();
      await h.settle();
      await h.launch("bad", { labels: { env: "x", "a/b": "c/d" } });
      const phase = await h.runner.phase("bad");
      await phase.task.addLogEntry("info", "new");
      expect((await h.controller.taskStatus("bad")).logs.map((entry) => [entry.msg, entry.seq])).toEqual([["new", 1n]]);
      expect(await h.query({ order: "newest" })).toContain("bad");
      phase.return();
    },
  );

  test("is counted and said once, however often it is met, until it is deleted", async () => {
    await using h = await openHarness();
    await bring(h, "Completed");
    await h.reopen();
    expect(h.controller.quarantinedTasks()).toEqual([]);
    await overwrite(h, "bad", garbage[0]?.[1] as Uint8Array);
    for (let i = 0; i < 3; i += 1) {
      await h.query();
      await refusal(h.controller.taskStatus("bad"));
      await refusal(h.launch("bad"));
    }
    expect(h.controller.quarantinedTasks()).toEqual(["bad"]);
    expect(h.faults.counts().tasks_quarantined).toBe(1);
    const said = h.logged.filter(({ fields }) => fields["taskId"] === "bad");
    expect(said.map(({ level, message }) => `${level}: ${message}`)).toEqual([
      "error: a task is damaged; it is kept as it is until it is deleted",
    ]);
    await h.reopen();
    expect(h.controller.quarantinedTasks(), "nobody has met it yet").toEqual([]);
    await h.query();
    await h.controller.deleteTask("bad");
    expect(h.controller.quarantinedTasks()).toEqual([]);
    await h.launch("bad");
    expect(await h.state("bad")).toBe("Running");
  });

  test("stops no opening, whatever else is stored for it", async () => {
    await using h = await openHarness();
    await bring(h, "Running");
    await h.launch("bad", { metadata: { n: 2 } });
    await h.settle();
    h.handle.cut();
    h.runner.abandon();
    await overwrite(h, "bad", garbage[0]?.[1] as Uint8Array);
    await h.open();
    await h.settle();
    expect(await h.state("good")).toBe("Running");
    expect((await refusal(h.controller.taskStatus("bad"))).code).toBe("DATA_LOSS");
    expect(h.runner.held("bad")).toBeUndefined();
    expect(h.messages("error").length).toBeGreaterThan(0);
    await h.reopen();
    await h.controller.deleteTask("bad");
    await h.launch("bad");
    await h.runner.phase("bad");
  });

  test("and has an end to tell of is left alone", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    await bring(h, "Completed");
    h.handle.cut();
    h.runner.abandon();
    await overwrite(h, "bad", garbage[0]?.[1] as Uint8Array);
    await h.open({ retention: {} });
    await h.settle();
    expect(h.runner.held("bad", "completed")).toBeUndefined();
    await h.controller.deleteTask("bad");
  });
});

describe("damaged bytes, as a store shows them,", () => {
  test("of a task are DATA_LOSS for that task only", async () => {
    await using h = await openHarness();
    await bring(h, "Running");
    await h.crash({ wrap: (store) => damageEntries(store, (key) => key === taskKey(controllerName, "bad")) });
    await h.settle();
    expect((await refusal(h.controller.taskStatus("bad"))).code).toBe("DATA_LOSS");
    expect((await refusal(h.launch("bad"))).code).toBe("DATA_LOSS");
    expect(await h.state("good")).toBe("Running");
    expect(await h.query()).toEqual(["good"]);
    // Healed, it goes on: nothing was written to it.
    await h.crash();
    expect((await h.runner.phase("bad")).context.attempt).toBe(2);
  });

  test.each(["lost", "applied"] as const)(
    "of a task stand in no deletion's way, not even of one of which the store does not know what became (%s)",
    async (kind) => {
      await using h = await openHarness();
      await bring(h, "Completed");
      const plan = new FaultPlan();
      const isDamaged = (key: string): boolean => key === taskKey(controllerName, "bad");
      await h.crash({ wrap: (store) => damageEntries(new FaultStore(store, plan), isDamaged) });
      await h.settle();
      // After the commits that remove its log: that of the task itself.
      const chunks = (await h.keys("/logs/")).length;
      plan.add({ at: plan.counts.commit + chunks + 1, of: "commit", kind });
      const deletion = observed(h.controller.deleteTask("bad"));
      await h.clock.advance(1_000);
      expect(plan.injected).toHaveLength(1);
      if (kind === "applied") await deletion.promise;
      else {
        expect((await refusal(deletion.promise)).code).toBe("UNAVAILABLE");
        expect(await h.controller.listTasks()).toEqual(["bad", "good"]);
        await h.controller.deleteTask("bad");
      }
      expect(await h.controller.listTasks()).toEqual(["good"]);
    },
  );

  test.each([
    "leases",
    "intents",
    "deliveries",
    "waiting",
    "released",
    "counts",
    "trash",
    "index/state",
    "index/newest",
  ])("under /%s stop no opening and no task", async (list) => {
    await using h = await openHarness({ concurrency: 2 });
    h.runner.scripts.completed = "hold";
    for (const id of ["a", "b", "c"]) await h.launch(id);
    await h.launch("a");
    (await h.runner.phase("b")).return();
    await h.runner.phase("b", "completed");
    h.runner.scripts.completed = () => undefined;
    await h.crash({ wrap: (store) => damageEntries(store, (key) => key.startsWith(`/${list}/`)) });
    await h.settle();
    expect(await h.states("a", "b", "c")).toEqual(["Running", "Completed", "Running"]);
    if (list === "intents") expect(h.controller.quarantinedTasks()).toEqual(["a"]);
    await h.launch("d");
    expect([...(await h.controller.countTasks())].sort()).toEqual([
      [1, 1n],
      [2, 2n],
      [3, 1n],
    ]);
    await h.crash();
    await h.settle();
    for (const id of ["a", "c", "d"]) {
      (await h.runner.phase(id)).return();
      await h.settle();
    }
    const left = (await h.keys("/intents/")).length;
    // A launch that cannot be read is lost; everything else is as it should be.
    if (list !== "intents") expect(left).toBe(0);
  });

  test.each(["leases", "intents"])("that are whole and no message, under /%s, stop no opening", async (list) => {
    await using h = await openHarness();
    await h.launch("a");
    await h.launch("a");
    await h.launch("b");
    await h.settle();
    h.handle.cut();
    h.runner.abandon();
    for (const key of await h.keys(`/${list}/`)) {
      await h.disk.commit([{ type: "unindex", key }]);
      await h.disk.commit([{ type: "index", key, value: new Uint8Array([0xff, 0xff]) }]);
    }
    await h.open();
    await h.settle();
    expect(await h.states("a", "b")).toEqual(["Running", "Running"]);
    for (const key of await h.keys("/intents/")) await h.disk.commit([{ type: "unindex", key }]);
  });

  test("of a log chunk are DATA_LOSS where entries are read, and the task goes on", async () => {
    await using h = await openHarness();
    await bring(h, "Running");
    await h.crash({ wrap: (store) => damageEntries(store, (key) => key.startsWith("/logs/")) });
    const phase = await h.runner.phase("bad");
    await phase.task.setProgress({ current: 1 });
    await phase.task.addLogEntry("info", "more");
    expect((await refusal(h.controller.taskStatus("bad"))).code).toBe("DATA_LOSS");
    expect((await h.controller.taskStatus("bad", { logLimit: 0 })).logCount).toBe(6n);
    phase.return();
    await h.settle();
    expect((await h.controller.queryTasks()).tasks.map((task) => [task.taskId, task.status.state])).toEqual([
      ["bad", 3],
      ["good", 2],
    ]);
    await h.controller.deleteTask("bad");
  });

  test("of metadata are DATA_LOSS to readers, and fail only that task", async () => {
    await using h = await openHarness();
    await bring(h, "Running");
    h.runner.scripts.running = async (phase) => {
      await phase.task.loadTaskMetadata();
      return phase.settled;
    };
    await h.crash({ wrap: (store) => damageEntries(store, (key) => key.startsWith("/payloads/")) });
    await h.settle();
    expect((await refusal(h.controller.taskStatus("bad"))).code).toBe("DATA_LOSS");
    expect((await h.stored("bad"))?.status).toMatchObject({ state: 4, error: { reason: "RUNNER_ERROR" } });
    // Who does not ask for what is damaged is not kept from the rest.
    const { status } = await h.controller.readTask("bad", { without: ["metadata"] });
    expect(status).toMatchObject({ state: 4, metadata: "" });
    expect(await h.state("good")).toBe("Running");
    expect(await h.query()).toEqual(["bad", "good"]);
    expect(await h.query({ include: { metadata: true } })).toEqual(["good"]);
  });

  test("of a request make its repetition DATA_LOSS, and nothing is done twice", async () => {
    await using h = await openHarness();
    await bring(h, "Running");
    await h.crash({ wrap: (store) => damageEntries(store, (key) => key.startsWith("/requests/")) });
    const { runId } = (await h.runner.phase("bad")).context;
    expect((await refusal(h.launch("bad", { requestId: "r" }))).code).toBe("DATA_LOSS");
    expect((await h.controller.taskStatus("bad")).runId).toBe(runId);
    expect((await h.launch("c", { requestId: "other" })).outcome).toBe("launched");
  });
});
