import { describe, expect, test } from "vitest";
import { ControllerError } from "../../src/controller/error.ts";
import { requestKeptMs } from "../../src/controller/requests.ts";
import { openHarness, refusal } from "../support/controller-harness.ts";

describe("a launch with a request id", () => {
  test("repeated gives the first answer with today's status, and does nothing more", async () => {
    await using h = await openHarness();
    const options = { requestId: "r1", metadata: { n: 1 }, labels: { a: "1", b: "2" } };
    const first = await h.launch("a", options);
    const phase = await h.runner.phase("a");
    await phase.task.setProgress({ current: 3 });
    const commits = h.handle.commits;
    const again = await h.launch("a", { ...options, labels: { b: "2", a: "1" } });
    expect(again).toMatchObject({
      taskId: "a",
      runId: first.runId,
      outcome: "launched",
      status: { state: 2, progress: { current: 3n } },
    });
    expect(again.revision).toBe((await h.controller.readTask("a")).revision);
    expect(h.handle.commits).toBe(commits);
    expect(phase.signal.aborted).toBe(false);
  });

  test("repeated over a crash and after the end is the same still", async () => {
    await using h = await openHarness();
    const first = await h.launch("a", { requestId: "r1" });
    await h.settle();
    await h.crash();
    (await h.runner.phase("a")).return();
    await h.settle();
    expect(await h.launch("a", { requestId: "r1" })).toMatchObject({
      runId: first.runId,
      outcome: "launched",
      status: { state: 3 },
    });
    expect(h.runner.all("a", "completed")).toHaveLength(1);
  });

  test("repeated after a relaunch without it keeps the run of the first time", async () => {
    await using h = await openHarness();
    const first = await h.launch("a", { requestId: "r1" });
    const restarted = await h.launch("a", { requestId: "r2" });
    expect(restarted.outcome).toBe("restarted");
    (await h.runner.phase("a")).stop();
    await h.settle();
    expect(await h.launch("a", { requestId: "r1" })).toMatchObject({
      runId: first.runId,
      outcome: "launched",
      status: { runId: restarted.runId },
    });
    expect(await h.launch("a", { requestId: "r2" })).toMatchObject({ runId: restarted.runId, outcome: "restarted" });
    expect(h.runner.all("a", "running")).toHaveLength(2);
  });

  const others = [
    ["another task id", "b", {}],
    ["other metadata", "a", { metadata: { n: 2 } }],
    ["no metadata", "a", { metadata: undefined }],
    ["other spaces in its JSON", "a", { metadata: undefined, jsonMetadata: '{"n": 1}' }],
    ["other labels", "a", { labels: { l: "2" } }],
    ["another if_active", "a", { ifActive: "fail" }],
    ["another if_ended", "a", { ifEnded: "fail" }],
    ["an if_revision", "a", { ifRevision: 0n }],
  ] as const;
  test.each(others)("used with %s is REQUEST_ID_REUSED", async (_, taskId, other) => {
    await using h = await openHarness();
    const options = { requestId: "r1", metadata: { n: 1 }, labels: { l: "1" } };
    await h.launch("a", options);
    const error = await refusal(h.launch(taskId, { ...options, ...other }));
    expect([error.code, error.details.reason]).toEqual(["ALREADY_EXISTS", "REQUEST_ID_REUSED"]);
    expect(await h.controller.listTasks()).toEqual(["a"]);
    expect((await h.runner.phase("a")).signal.aborted).toBe(false);
  });

  test("spelled out with its defaults is the same payload", async () => {
    await using h = await openHarness();
    const { runId } = await h.launch("a", { requestId: "r1", jsonMetadata: " " });
    const again = await h.launch("a", { requestId: "r1", ifActive: "restart", ifEnded: "relaunch", labels: {} });
    expect(again.runId).toBe(runId);
  });

  test("of another owner is another request", async () => {
    await using h = await openHarness();
    await h.launch("a", { requestId: "r1", owner: "ann" });
    expect((await h.launch("b", { requestId: "r1", owner: "bob" })).outcome).toBe("launched");
    expect((await h.launch("c", { requestId: "r1" })).outcome).toBe("launched");
    // Owners and ids cannot run into each other.
    expect((await h.launch("d", { requestId: "1/r", owner: "x" })).outcome).toBe("launched");
    expect((await h.launch("e", { requestId: "r", owner: "x/1" })).outcome).toBe("launched");
  });

  test("repeated after the task was deleted is NOT_FOUND, even where the id was made anew", async () => {
    await using h = await openHarness();
    await h.launch("a", { requestId: "r1" });
    (await h.runner.phase("a")).return();
    await h.settle();
    await h.controller.deleteTask("a");
    expect((await refusal(h.launch("a", { requestId: "r1" }))).code).toBe("NOT_FOUND");
    expect(await h.controller.listTasks()).toEqual([]);
    const anew = await h.launch("a", { requestId: "r2" });
    expect((await refusal(h.launch("a", { requestId: "r1" }))).code).toBe("NOT_FOUND");
    expect((await h.launch("a", { requestId: "r2" })).runId).toBe(anew.runId);
  });

  test("that uses the existing task is used up by it", async () => {
    await using h = await openHarness();
    const { runId } = await h.launch("a");
    const options = { requestId: "r1", ifActive: "use-existing" } as const;
    const before = (await h.controller.readTask("a")).revision;
    expect(await h.launch("a", options)).toMatchObject({ runId, outcome: "used-existing", revision: before });
    expect((await h.controller.readTask("a")).revision).toBe(before);
    (await h.runner.phase("a")).return();
    await h.settle();
    // Without its memory this would be a new run.
    expect(await h.launch("a", options)).toMatchObject({ runId, outcome: "used-existing", status: { state: 3 } });
    expect((await refusal(h.launch("b", options))).details.reason).toBe("REQUEST_ID_REUSED");
  });

  test("that is refused does not use it up", async () => {
    await using h = await openHarness({ limits: { waitingMax: 1, activeMax: 1 } });
    await h.launch("a");
    const refused = [
      ["ALREADY_EXISTS", { ifActive: "fail" }, "a"],
      ["ABORTED", { ifRevision: 99n }, "a"],
      ["INVALID_ARGUMENT", { jsonMetadata: "[]" }, "a"],
    ] as const;
    for (const [code, options, taskId] of refused) {
      expect((await refusal(h.launch(taskId, { requestId: "r1", ...options }))).code).toBe(code);
    }
    await h.launch("b");
    expect((await refusal(h.launch("c", { requestId: "r1" }))).code).toBe("RESOURCE_EXHAUSTED");
    expect(await h.keys("/requests")).toEqual([]);
    (await h.runner.phase("a")).return();
    await h.runner.phase("b");
    expect((await h.launch("c", { requestId: "r1" })).outcome).toBe("launched");
  });

  test("is forgotten after 24 h, not before", async () => {
    await using h = await openHarness();
    await h.launch("a", { requestId: "r1" });
    await h.clock.advance(60_000);
    await h.launch("b", { requestId: "r2" });
    await h.clock.advance(requestKeptMs - 60_001);
    expect((await refusal(h.launch("c", { requestId: "r1" }))).details.reason).toBe("REQUEST_ID_REUSED");
    await h.clock.advance(10_001);
    expect((await refusal(h.launch("c", { requestId: "r2" }))).details.reason).toBe("REQUEST_ID_REUSED");
    expect((await h.launch("c", { requestId: "r1" })).outcome).toBe("launched");
    await h.clock.advance(2 * requestKeptMs);
    expect(await h.keys("/requests")).toEqual([]);
  });

  test("is forgotten in pages, however many there are", async () => {
    await using h = await openHarness({ concurrency: 1 });
    await Promise.all(Array.from({ length: 700 }, (_, i) => h.launch(`t${i}`, { requestId: `r${i}` })));
    expect(await h.keys("/requests/")).toHaveLength(700);
    await h.clock.advance(requestKeptMs + 10_000);
    expect(await h.keys("/requests")).toEqual([]);
  });

  test("has its effect once, however many ask at one time", async () => {
    await using h = await openHarness();
    const launched = await Promise.all(Array.from({ length: 20 }, () => h.launch("a", { requestId: "r1" })));
    expect(new Set(launched.map((each) => each.runId)).size).toBe(1);
    expect(new Set(launched.map((each) => each.outcome))).toEqual(new Set(["launched"]));
    await h.settle();
    expect(h.runner.calls("a")).toEqual(["pending 1", "running 1"]);
  });

  test("has its effect once for one of two payloads that ask at one time", async () => {
    await using h = await openHarness();
    const [a, b] = await Promise.allSettled([h.launch("a", { requestId: "r1" }), h.launch("b", { requestId: "r1" })]);
    expect([a.status, b.status].sort()).toEqual(["fulfilled", "rejected"]);
    expect(await h.controller.listTasks()).toHaveLength(1);
  });

  test("and a task id that the server made gives the id of the first time", async () => {
    await using h = await openHarness();
    const options = { requestId: "r1", generatedTaskId: true };
    const first = await h.launch("made-1", options);
    expect(await h.launch("made-2", options)).toMatchObject({
      taskId: "made-1",
      runId: first.runId,
      status: { runId: first.runId },
    });
    expect(await h.controller.listTasks()).toEqual(["made-1"]);
  });

  test("and ids that the server made have one effect where they ask at one time", async () => {
    await using h = await openHarness();
    const options = { requestId: "r1", generatedTaskId: true };
    const launched = await Promise.all(["m1", "m2", "m3"].map((id) => h.launch(id, options)));
    expect(new Set(launched.map((each) => each.taskId)).size).toBe(1);
    expect(new Set(launched.map((each) => each.runId)).size).toBe(1);
    expect(await h.controller.listTasks()).toHaveLength(1);
  });

  test("may be any printable text, and nothing else", async () => {
    await using h = await openHarness();
    for (const requestId of ["ä/€ %2F", "😀", "x".repeat(128)]) {
      const first = await h.launch("a", { requestId });
      expect((await h.launch("a", { requestId })).runId).toBe(first.runId);
    }
    for (const requestId of ["x".repeat(129), "a\nb", "\ud800"]) {
      expect((await refusal(h.launch("a", { requestId }))).code).toBe("INVALID_ARGUMENT");
    }
  });

  test("is not lost with the answer: the process dies after the commit", async () => {
    for (const applied of [false, true]) {
      await using h = await openHarness();
      h.handle.cutAtCommit(1, { applied });
      void h.launch("a", { requestId: "r1" });
      await h.settle();
      await h.crash();
      expect(await h.controller.listTasks()).toEqual(applied ? ["a"] : []);
      const { outcome, runId } = await h.launch("a", { requestId: "r1" });
      expect(outcome).toBe("launched");
      expect((await h.runner.phase("a")).context).toMatchObject({ runId });
      expect(h.runner.all("a", "running")).toHaveLength(1);
    }
  });
});

test("a launch that is repeated is answered also while no new run is taken", async () => {
  const disk: { refusal?: ControllerError } = {};
  await using h = await openHarness({ refuseLaunch: () => disk.refusal });
  const launched = await h.launch("a", { requestId: "one" });
  disk.refusal = new ControllerError("RESOURCE_EXHAUSTED", "the disk is full");
  expect(await h.launch("a", { requestId: "one" })).toMatchObject({ runId: launched.runId, outcome: "launched" });
  expect((await refusal(h.launch("b"))).code).toBe("RESOURCE_EXHAUSTED");
  expect((await refusal(h.launch("a"))).code).toBe("RESOURCE_EXHAUSTED");
  expect((await refusal(h.launch("a", { ifRevision: 1_000n }))).code).toBe("ABORTED");
  expect(await h.launch("a", { ifActive: "use-existing" })).toMatchObject({ outcome: "used-existing" });
});
