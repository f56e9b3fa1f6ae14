import { describe, expect, test } from "vitest";
import { observed, openHarness, refusal } from "../support/controller-harness.ts";

describe("closing a controller", () => {
  test("tells every runner to stop, writes no end, and the tasks go on with one attempt more at the next opening", async () => {
    await using h = await openHarness();
    const { runId } = await h.launch("a", { metadata: { n: 1 }, labels: { l: "1" } });
    const old = await h.runner.phase("a");
    await old.task.setProgress({ current: 3, total: 9 });
    await old.task.addLogEntry("info", "kept");
    const before = await h.controller.readTask("a");
    await h.close();
    expect([old.signal.aborted, old.abortKind]).toEqual([true, "SHUTDOWN"]);
    expect((await h.stored("a"))?.status).toMatchObject({ state: 2, attempt: 1 });
    await h.open();
    const next = await h.runner.phase("a");
    expect(next.context).toMatchObject({ attempt: 2, runId });
    expect(next.context.fence).toBeGreaterThan(old.context.fence);
    expect(await next.task.getProgress()).toMatchObject({ current: 3n, total: 9n });
    expect(await next.task.loadTaskMetadata()).toEqual({ n: 1 });
    const status = await h.controller.taskStatus("a");
    expect(status).toMatchObject({ labels: { l: "1" }, runId, crashCount: 0, startTime: before.status.startTime });
    expect(status.logs.map((entry) => entry.msg)).toEqual(["kept"]);
    expect(await h.transitions("a")).toEqual([
      "Pending",
      "Running",
      "Pending: resumed: the controller was opened again",
      "Running",
    ]);
    expect(h.runner.all("a", "completed")).toEqual([]);
  });

  test.each([
    ["throws the reason", "leave"],
    ["throws something else", "leave"],
    ["returns", "complete"],
  ])("while a runner %s means: %s", async (how, verdict) => {
    await using h = await openHarness();
    await h.launch("a");
    const phase = await h.runner.phase("a");
    const closing = h.controller.close();
    if (how === "returns") phase.return(1);
    else phase.throw(how === "throws the reason" ? phase.signal.reason : new Error("broken by the stop"));
    await closing;
    expect((await h.stored("a"))?.status).toMatchObject(verdict === "leave" ? { state: 2 } : { state: 3, result: "1" });
    await h.open();
    await h.settle();
    expect(h.runner.all("a", "running")).toHaveLength(verdict === "leave" ? 2 : 1);
  });

  test("in onTaskPending leaves the task Pending, and onTaskPending runs again", async () => {
    await using h = await openHarness();
    h.runner.scripts.pending = "hold";
    await h.launch("a");
    const phase = await h.runner.phase("a", "pending");
    const closing = h.controller.close();
    phase.return();
    await closing;
    expect(h.runner.all("a", "running")).toEqual([]);
    await h.open();
    expect((await h.runner.phase("a", "pending")).context.attempt).toBe(2);
  });

  test("waits for what the runners still write, and for onTaskCompleted", async () => {
    await using h = await openHarness();
    h.runner.scripts.completed = "hold";
    await h.launch("a");
    const phase = await h.runner.phase("a");
    const closing = observed(h.controller.close());
    await phase.task.setProgress({ current: 8 });
    void phase.task.addLogEntry("info", "bye");
    phase.return();
    const completed = await h.runner.phase("a", "completed");
    await h.settle();
    expect(closing.state()).toBe("waiting");
    completed.return();
    await closing.promise;
    expect(await h.keys("/deliveries/")).toEqual([]);
    await h.open();
    expect((await h.controller.taskStatus("a")).logs.map((entry) => entry.msg)).toEqual(["bye"]);
    expect(h.runner.all("a", "completed")).toHaveLength(1);
  });

  test("leaves waiting tasks as they are: no attempt is counted", async () => {
    await using h = await openHarness({ concurrency: 1 });
    await h.launch("busy");
    await h.launch("a");
    const before = await h.controller.readTask("a");
    await h.reopen();
    expect((await h.controller.readTask("a")).revision).toBe(before.revision);
    (await h.runner.phase("busy")).return();
    expect((await h.runner.phase("a")).context.attempt).toBe(1);
  });

  test("leaves runners that do not stop after the grace time, and they write nothing more", async () => {
    await using h = await openHarness({ closeGraceMs: 1_000 });
    await h.launch("a");
    const phase = await h.runner.phase("a");
    const closing = observed(h.controller.close());
    await h.clock.advance(999);
    await phase.task.setProgress({ current: 1 });
    expect(closing.state()).toBe("waiting");
    await h.clock.advance(1);
    await closing.promise;
    expect(h.messages("warn")).toEqual([expect.stringContaining("did not stop in time, and are waited for no longer")]);
    await expect(phase.task.setProgress({ current: 2 })).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
    phase.return("late");
    await h.settle();
    expect((await h.stored("a"))?.status).toMatchObject({ state: 2, progress: { current: 1n } });
    expect(h.clock.pending()).toBe(0);
    h.runner.abandon();
    await h.open();
  });

  test("is no death: runners that ignore it, time and again, make no suspect of their task", async () => {
    await using h = await openHarness({ closeGraceMs: 1_000 });
    await h.launch("a");
    for (let i = 1; i <= 5; i += 1) {
      const phase = await h.runner.phase("a");
      expect(phase.context.attempt).toBe(i);
      const closing = h.controller.close();
      await h.clock.advance(1_000);
      await closing;
      h.runner.abandon();
      await h.open();
    }
    const status = await h.controller.taskStatus("a");
    expect(status.crashCount).toBe(0);
    expect(await h.transitions("a")).toContain("Pending: resumed: the controller was opened again");
    expect(await h.transitions("a")).not.toContain("Pending: resumed: the process died during the attempt before");
  });

  test("twice is once", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const both = observed(
      Promise.all([h.controller.close(), h.controller.close(), h.controller[Symbol.asyncDispose]()]),
    );
    await h.settle();
    expect(both.state()).toBe("waiting");
    (await h.runner.phase("a")).stop();
    await both.promise;
    await h.controller.close();
    await h.open();
  });

  test("refuses every call from then on as UNAVAILABLE, and says why", async () => {
    await using h = await openHarness();
    await h.launch("a");
    (await h.runner.phase("a")).return();
    await h.settle();
    const { controller } = h;
    await controller.close();
    const calls: Array<Promise<unknown>> = [
      controller.launchTask("a"),
      controller.cancelTask("a"),
      controller.listTasks(),
      controller.queryTasks(),
      controller.taskStatus("a"),
      controller.readTask("a"),
      controller.deleteTask("a"),
      controller.countTasks(),
      (async () => controller.watchTask("a"))(),
    ];
    for (const call of calls) {
      const error = await refusal(call);
      expect([error.code, error.details.reason]).toEqual(["UNAVAILABLE", "DRAINING"]);
    }
    expect(calls).toHaveLength(9);
    expect(await h.stored("a")).toBeDefined();
    await h.open();
  });

  test("in the middle of launches loses none that was acknowledged, and leaves no runner to run on", async () => {
    for (let ticks = 0; ticks < 24; ticks += 1) {
      await using h = await openHarness();
      const call = h.launch("a");
      for (let i = 0; i < ticks; i += 1) await Promise.resolve();
      const closing = h.controller.close();
      const acknowledged = await call.then(
        () => true,
        () => false,
      );
      await h.settle();
      for (const phase of h.runner.phases) if (!phase.isSettled) phase.stop();
      await closing;
      const calls = h.runner.calls("a").length;
      await h.settle();
      expect(h.runner.calls("a").length).toBe(calls);
      if (acknowledged) expect(await h.stored("a")).toBeDefined();
      await h.open();
    }
  });

  test("leaves no timer and no unfinished business behind", async () => {
    await using h = await openHarness();
    for (const id of ["a", "b"]) await h.launch(id);
    (await h.runner.phase("a")).return();
    const watch = h.controller.watchTask("b")[Symbol.asyncIterator]();
    await watch.next();
    const next = watch.next().catch((error: unknown) => error);
    await h.close();
    await next;
    await h.settle();
    expect(h.clock.pending()).toBe(0);
    await h.open();
  });
});

describe("a crash", () => {
  test("is survived by every acknowledged word: the task resumes with progress, metadata and logs, and says why", async () => {
    await using h = await openHarness();
    const { runId } = await h.launch("a", { metadata: { text: "x".repeat(9_000) } });
    const old = await h.runner.phase("a");
    await old.task.setProgress({ current: 3 });
    await old.task.addLogEntry("warn", "kept");
    await h.crash();
    const next = await h.runner.phase("a");
    expect(next.context).toMatchObject({ attempt: 2, runId });
    expect(await next.task.getProgress()).toMatchObject({ current: 3n });
    expect(await next.task.loadTaskMetadata()).toEqual({ text: "x".repeat(9_000) });
    expect((await h.controller.taskStatus("a")).logs.map((entry) => [entry.msg, entry.seq])).toEqual([["kept", 1n]]);
    expect((await h.transitions("a"))[2]).toBe("Pending: resumed: the process died during the attempt before");
    await next.task.addLogEntry("info", "more");
    expect((await h.controller.taskStatus("a")).logs.at(-1)?.seq).toBe(2n);
  });

  test("in onTaskPending is survived too", async () => {
    await using h = await openHarness();
    h.runner.scripts.pending = "hold";
    await h.launch("a");
    await h.runner.phase("a", "pending");
    await h.crash();
    expect((await h.runner.phase("a", "pending")).context.attempt).toBe(2);
    await h.crash();
    expect((await h.runner.phase("a", "pending")).context.attempt).toBe(3);
  });

  test("of many tasks resumes each once, in the order in which they were launched", async () => {
    await using h = await openHarness();
    const ids = Array.from({ length: 600 }, (_, i) => `t${(i * 7919) % 600}`);
    for (const id of ids) await h.launch(id);
    await h.settle();
    await h.crash({ concurrency: 50 });
    await h.settle();
    const order = (): string[] =>
      h.runner.phases.filter((p) => p.name === "running" && p.context.attempt === 2).map((p) => p.taskId);
    expect(order()).toEqual(ids.slice(0, 50));
    for (let done = 0; done < 600; done += 1) {
      const [next] = h.runner.phases.filter((p) => p.name === "running" && !p.isSettled && !p.isAbandoned);
      next?.return();
      await Promise.resolve();
      if (done % 20 === 0) await h.settle();
    }
    await h.settle();
    expect([...order()].sort()).toEqual([...ids].sort());
    expect(order()).toEqual(ids);
  });

  test("never runs a task again whose end is on disk, though its answer was lost", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const phase = await h.runner.phase("a");
    h.handle.cutAtCommit(1, { applied: true });
    phase.return("done");
    await h.settle();
    await h.crash();
    await h.settle();
    expect(await h.controller.taskStatus("a")).toMatchObject({ state: 3, result: '"done"' });
    expect(h.runner.all("a", "running")).toHaveLength(1);
    expect(h.runner.all("a", "completed").map((each) => each.state)).toEqual([3]);
  });
});
