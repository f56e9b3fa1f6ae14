import { describe, expect, test } from "vitest";
import { openHarness, refusal } from "../support/controller-harness.ts";

describe("deleting a task", () => {
  test("removes everything that belonged to it, and frees its id for a task that is quite new", async () => {
    await using h = await openHarness();
    await h.launch("a", { metadata: { text: "m".repeat(3_000) }, labels: { l: "1" } });
    const first = await h.runner.phase("a");
    for (let i = 0; i < 10; i += 1) await first.task.addLogEntry("info", "old");
    first.return("r".repeat(3_000));
    await h.settle();
    const { createTime, revision } = {
      ...(await h.controller.readTask("a")).status,
      ...(await h.controller.readTask("a")),
    };
    await h.clock.advance(1_000);
    await h.controller.deleteTask("a");
    await h.settle();
    for (const prefix of ["/tasks/", "/index/", "/logs/", "/trash/", "/payloads/", "/deliveries/"])
      expect(await h.keys(prefix)).toEqual([]);
    expect((await refusal(h.controller.taskStatus("a"))).code).toBe("NOT_FOUND");
    expect((await refusal(h.controller.deleteTask("a"))).code).toBe("NOT_FOUND");
    // What it was can still be read as of then.
    expect((await h.controller.readTask("a", { revision })).status.state).toBe(3);

    const anew = await h.launch("a");
    expect(anew.outcome).toBe("launched");
    expect(anew.revision).toBeGreaterThan(revision);
    const second = await h.runner.phase("a");
    await second.task.addLogEntry("info", "new");
    const status = await h.controller.taskStatus("a");
    expect(status.createTime).not.toEqual(createTime);
    expect(status.logs.map((entry) => [entry.seq, entry.msg])).toEqual([[1n, "new"]]);
    expect(await h.transitions("a")).toEqual(["Pending", "Running"]);
  });

  test.each(["Pending", "Running"] as const)("is refused while it is %s, and changes nothing", async (state) => {
    await using h = await openHarness({ concurrency: 1 });
    if (state === "Pending") await h.launch("busy");
    await h.launch("a");
    await h.settle();
    const before = await h.controller.readTask("a");
    const error = await refusal(h.controller.deleteTask("a"));
    expect([error.code, error.message]).toEqual(["FAILED_PRECONDITION", expect.stringContaining(state)]);
    expect(await h.controller.readTask("a")).toEqual(before);
  });

  test("of one that is being cancelled and has not stopped is refused", async () => {
    await using h = await openHarness();
    await h.launch("a");
    await h.controller.cancelTask("a");
    expect((await refusal(h.controller.deleteTask("a"))).code).toBe("FAILED_PRECONDITION");
  });

  test("with a lost if_revision is ABORTED, also where its state would refuse it; an absent task is NOT_FOUND first", async () => {
    await using h = await openHarness();
    const { revision } = await h.launch("a");
    await h.settle();
    const lost = { code: "ABORTED", details: { reason: "CONFLICT" } };
    expect(await refusal(h.controller.deleteTask("a", { ifRevision: revision }))).toMatchObject(lost);
    const running = await h.controller.readTask("a");
    const active = await refusal(h.controller.deleteTask("a", { ifRevision: running.revision }));
    expect(active.code).toBe("FAILED_PRECONDITION");
    (await h.runner.phase("a")).return();
    await h.settle();
    expect(await refusal(h.controller.deleteTask("a", { ifRevision: running.revision }))).toMatchObject(lost);
    expect(await refusal(h.controller.deleteTask("a", { ifRevision: 0n }))).toMatchObject(lost);
    const ended = await h.controller.readTask("a");
    await h.controller.deleteTask("a", { ifRevision: ended.revision });
    expect((await refusal(h.controller.deleteTask("a", { ifRevision: ended.revision }))).code).toBe("NOT_FOUND");
  });

  test("at the same time as a launch has one of the two orders", async () => {
    for (let ticks = 0; ticks < 12; ticks += 1) {
      await using h = await openHarness();
      await h.launch("a");
      (await h.runner.phase("a")).return();
      await h.settle();
      const deletion = h.controller.deleteTask("a").then(
        () => "deleted",
        (error: { code: string }) => error.code,
      );
      for (let i = 0; i < ticks; i += 1) await Promise.resolve();
      const { runId } = await h.launch("a");
      expect(["deleted", "FAILED_PRECONDITION"]).toContain(await deletion);
      expect((await h.controller.taskStatus("a")).runId).toBe(runId);
    }
  });

  test("twice at the same time is once done and once NOT_FOUND", async () => {
    await using h = await openHarness();
    await h.launch("a");
    (await h.runner.phase("a")).return();
    await h.settle();
    const results = await Promise.allSettled([h.controller.deleteTask("a"), h.controller.deleteTask("a")]);
    expect(results.map((result) => result.status)).toEqual(["fulfilled", "rejected"]);
    expect((results[1] as PromiseRejectedResult).reason).toMatchObject({ code: "NOT_FOUND" });
  });

  test("is whole or not at all when the process dies in it", async () => {
    for (const applied of [false, true]) {
      await using h = await openHarness();
      await h.launch("a", { labels: { l: "1" }, metadata: { text: "m".repeat(3_000) } });
      const phase = await h.runner.phase("a");
      await phase.task.addLogEntry("info", "x");
      phase.return();
      await h.settle();
      h.handle.cutAtCommit(1, { applied });
      void h.controller.deleteTask("a").catch(() => {});
      await h.settle();
      await h.crash();
      await h.settle();
      expect(await h.controller.listTasks()).toEqual(applied ? [] : ["a"]);
      expect(await h.keys("/logs/")).toHaveLength(applied ? 0 : 1);
    }
  });
});
