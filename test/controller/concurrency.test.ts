import { describe, expect, test } from "vitest";
import { type Harness, openHarness, refusal } from "../support/controller-harness.ts";

function running(h: Harness): string[] {
  return h.runner.phases.filter((p) => p.name === "running" && !p.isSettled && !p.isAbandoned).map((p) => p.taskId);
}

describe("the limit of concurrency", () => {
  test("is kept: the others wait, Pending, and say what for, and start in the order of their launches", async () => {
    await using h = await openHarness({ concurrency: 3 });
    const ids = ["d", "b", "a", "e", "c", "g", "f"];
    for (const id of ids) await h.launch(id);
    await h.settle();
    expect(running(h)).toEqual(["d", "b", "a"]);
    const waiting = await h.controller.taskStatus("e");
    expect(waiting).toMatchObject({ state: 1, waitingFor: "one of the 3 places of this controller", attempt: 1 });
    expect((await h.controller.taskStatus("d")).waitingFor).toBe("");
    for (const [i, id] of ["d", "a", "e", "b", "c", "g", "f"].entries()) {
      (await h.runner.phase(id)).return();
      await h.settle();
      expect(running(h).length).toBe(Math.min(3, ids.length - i - 1));
    }
    const order = h.runner.phases.filter((p) => p.name === "running").map((p) => p.taskId);
    expect(order).toEqual(ids);
  });

  test("counts a task in onTaskPending, and one whose runner ignores a cancel", async () => {
    await using h = await openHarness({ concurrency: 2 });
    h.runner.scripts.pending = (phase) => (phase.taskId === "p" ? phase.settled : undefined);
    for (const id of ["p", "c", "x"]) await h.launch(id);
    await h.controller.cancelTask("c");
    await h.settle();
    expect(h.runner.calls("x")).toEqual([]);
    (await h.runner.phase("c")).stop();
    await h.runner.phase("x");
  });

  test("does not count onTaskCompleted", async () => {
    await using h = await openHarness({ concurrency: 1 });
    h.runner.scripts.completed = "hold";
    for (const id of ["a", "b"]) await h.launch(id);
    (await h.runner.phase("a")).return();
    await h.runner.phase("b");
  });

  test("gives places to the resumed first, in their old order, and to new ones after", async () => {
    await using h = await openHarness({ concurrency: 4 });
    for (const id of ["r3", "r1", "r2", "w2", "w1"]) await h.launch(id);
    await h.settle();
    await h.crash({ concurrency: 1 });
    await h.launch("new");
    const order: string[] = [];
    for (let i = 0; i < 6; i += 1) {
      await h.settle();
      const [id] = running(h);
      order.push(id as string);
      h.runner.held(id as string)?.return();
    }
    expect(order).toEqual(["r3", "r1", "r2", "w2", "w1", "new"]);
  });

  test("keeps the order when the clock was set back between two processes", async () => {
    await using h = await openHarness({ concurrency: 1 });
    for (const id of ["a", "b", "c"]) await h.launch(id);
    h.clock.jumpWall(-10 * 365 * 24 * 3_600_000);
    await h.crash();
    await h.launch("d");
    const order: string[] = [];
    for (let i = 0; i < 4; i += 1) {
      await h.settle();
      const [id] = running(h);
      order.push(id as string);
      h.runner.held(id as string)?.return();
    }
    expect(order).toEqual(["a", "b", "c", "d"]);
  });

  test("holds with more waiting than the line keeps in memory, also for those who come meanwhile", async () => {
    await using h = await openHarness({ concurrency: 5 });
    const ids: string[] = [];
    const started: string[] = [];
    h.runner.scripts.pending = (phase) => void started.push(phase.taskId);
    const launch = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i += 1) {
        const id = `t${ids.length * 7919}`;
        ids.push(id);
        await h.launch(id);
      }
    };
    const finish = async (count: number): Promise<void> => {
      for (let done = 0; done < count; ) {
        const now = h.runner.phases.filter((phase) => phase.name === "running" && !phase.isSettled);
        if (now.length === 0) throw new Error(`nobody runs after ${started.length} of ${ids.length}`);
        expect(now.length).toBeLessThanOrEqual(5);
        for (const phase of now) phase.return();
        done += now.length;
        await h.settle();
        // What has ended is of no interest, and would make this test slow.
        h.runner.phases.splice(0, h.runner.phases.length, ...h.runner.phases.filter((phase) => !phase.isSettled));
      }
    };
    await launch(2_500);
    await h.settle();
    await finish(1_200);
    await launch(300);
    await finish(1_600);
    expect(started).toEqual(ids);
    expect((await h.controller.countTasks()).get(3)).toBe(2_800n);
  }, 60_000);

  test("never forgets a task that waits, whatever happens at the same moment", async () => {
    for (let ticks = 0; ticks < 30; ticks += 1) {
      await using h = await openHarness({ concurrency: 1 });
      h.runner.scripts.running = async () => {
        for (let i = 0; i < ticks; i += 1) await Promise.resolve();
      };
      const launches = Array.from({ length: 6 }, async (_, i) => {
        for (let k = 0; k < i * ticks; k += 1) await Promise.resolve();
        return h.launch(`t${i}`);
      });
      await Promise.all(launches);
      await h.settle();
      expect((await h.controller.countTasks()).get(3)).toBe(6n);
    }
  });

  test("lets a launch that fails take no place for good", async () => {
    await using h = await openHarness({ concurrency: 1 });
    for (let i = 0; i < 3; i += 1) {
      await refusal(h.launch("x", { ifRevision: 99n }));
      await refusal(h.launch("x", { jsonMetadata: "[" }));
    }
    await h.launch("a");
    await h.runner.phase("a");
  });
});

describe("the limit of waiting tasks", () => {
  test("refuses launches above it, with how long to wait, and takes them again when there is room", async () => {
    await using h = await openHarness({ concurrency: 1, limits: { waitingMax: 2 } });
    for (const id of ["a", "b", "c"]) await h.launch(id);
    const error = await refusal(h.launch("d"));
    expect(error).toMatchObject({ code: "RESOURCE_EXHAUSTED", details: { reason: "LIMIT", retryDelayMs: 5_000 } });
    expect(await h.controller.listTasks()).toEqual(["a", "b", "c"]);
    await h.controller.cancelTask("b");
    await h.launch("d");
    await refusal(h.launch("e"));
    (await h.runner.phase("a")).return();
    await h.runner.phase("c");
    await h.launch("e");
  });

  test("holds over an opening, which counts who waits", async () => {
    await using h = await openHarness({ concurrency: 1, limits: { waitingMax: 2 } });
    for (const id of ["a", "b", "c"]) await h.launch(id);
    await h.crash();
    await h.settle();
    expect((await refusal(h.launch("d"))).code).toBe("RESOURCE_EXHAUSTED");
    (await h.runner.phase("a")).return();
    await h.settle();
    await h.launch("d");
    expect((await refusal(h.launch("e"))).code).toBe("RESOURCE_EXHAUSTED");
  });

  test("counts right through cancels, restarts, crashes and ends", async () => {
    await using h = await openHarness({ concurrency: 2, limits: { waitingMax: 5 } });
    for (let round = 0; round < 6; round += 1) {
      for (let i = 0; i < 7; i += 1) await h.launch(`t${i}`);
      await h.launch("t6");
      await h.controller.cancelTask("t5");
      await h.controller.cancelTask("t4");
      await (round % 2 === 0 ? h.crash() : h.reopen());
      for (let i = 0; i < 8; i += 1) {
        await h.settle();
        for (const id of running(h)) h.runner.held(id)?.return();
      }
      await h.settle();
    }
    // Were the count off by one in a round, it would be off by six now.
    for (let i = 0; i < 7; i += 1) await h.launch(`t${i}`);
    expect((await refusal(h.launch("more"))).code).toBe("RESOURCE_EXHAUSTED");
  });
});
