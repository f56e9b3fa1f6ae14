import { describe, expect, test } from "vitest";
import { openMemoryStore } from "../../src/store/memory.ts";
import { Harness, openHarness, refusal } from "../support/controller-harness.ts";

describe("a task at an older revision", () => {
  test("is shown as it was at each, over relaunches, a deletion and a task that was made anew", async () => {
    await using h = await openHarness();
    const seen: Array<{ at: bigint; state: string; runId: string; metadata: string; revision: bigint }> = [];
    const look = async (): Promise<void> => {
      const { status, revision } = await h.controller.readTask("a");
      const { runId, metadata } = status;
      seen.push({ at: h.disk.revision(), state: await h.state("a"), runId, metadata, revision });
    };
    for (let n = 0; n < 3; n += 1) {
      await h.launch("a", { metadata: { n, text: "x".repeat(2_000 * (n % 2)) } });
      await h.settle();
      await look();
      (await h.runner.phase("a")).return({ n });
      await h.settle();
      await look();
    }
    const before = h.disk.revision();
    await h.controller.deleteTask("a");
    const gone = h.disk.revision();
    await h.launch("a");
    await h.settle();
    await look();
    for (const { at, runId, metadata, revision } of seen) {
      const then = await h.controller.readTask("a", { revision: at });
      expect(then).toMatchObject({ revision, status: { runId, metadata } });
      // Up to its next change it is the same.
      expect(await h.controller.readTask("a", { revision })).toEqual(then);
    }
    expect((await h.controller.readTask("a", { revision: before })).status.state).toBe(3);
    expect((await refusal(h.controller.readTask("a", { revision: gone }))).code).toBe("NOT_FOUND");
    expect((await refusal(h.controller.readTask("b", { revision: gone }))).code).toBe("NOT_FOUND");
  });

  test("has only the log entries of then", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const { task } = await h.runner.phase("a");
    const revisions: bigint[] = [];
    for (let i = 0; i < 5; i += 1) {
      await task.addLogEntry("info", `${i}`);
      revisions.push((await h.controller.readTask("a")).revision);
    }
    for (const [i, revision] of revisions.entries()) {
      const { status } = await h.controller.readTask("a", { revision });
      expect(status.logs.map((entry) => entry.msg)).toEqual(["0", "1", "2", "3", "4"].slice(0, i + 1));
      expect((await h.controller.readTask("a", { revision, logLimit: 1 })).status.logs[0]?.msg).toBe(`${i}`);
    }
  });

  test("that lies ahead is OUT_OF_RANGE, also where there is no such task", async () => {
    await using h = await openHarness();
    await h.launch("a");
    await h.settle();
    for (const revision of [h.disk.revision() + 1n, 2n ** 63n, 2n ** 64n - 1n]) {
      for (const taskId of ["a", "b"]) {
        const error = await refusal(h.controller.readTask(taskId, { revision }));
        expect(error).toMatchObject({ code: "OUT_OF_RANGE", message: expect.stringContaining("ahead") as unknown });
        expect(error.details.reason).toBeUndefined();
      }
    }
  });

  test("whose history is gone is OUT_OF_RANGE, and names the first there is, which can be read", async () => {
    await using h = new Harness(await openMemoryStore({ historyBytes: 20_000 }), {});
    await h.open();
    const { revision } = await h.launch("a");
    h.runner.scripts.running = () => undefined;
    for (let i = 0; i < 60; i += 1) await h.launch("other");
    await h.settle();
    const first = h.disk.firstRevision();
    expect(first).toBeGreaterThan(revision);
    const refused = {
      code: "OUT_OF_RANGE",
      details: { reason: "COMPACTED", metadata: { first_revision: String(first) } },
    };
    // Whether there is such a task or not: what is gone is not known.
    for (const taskId of ["a", "absent"]) {
      expect(await refusal(h.controller.readTask(taskId, { revision }))).toMatchObject(refused);
      for (const waitForLaunch of [false, true]) {
        expect(() => h.controller.watchTask(taskId, { sinceRevision: revision, waitForLaunch })).toThrow(
          expect.objectContaining(refused),
        );
      }
    }
    expect(() => h.controller.watchTasks({ sinceRevision: revision })).toThrow(expect.objectContaining(refused));
    expect((await h.controller.readTask("a", { revision: first })).status.state).toBeGreaterThan(0);
  });
});
