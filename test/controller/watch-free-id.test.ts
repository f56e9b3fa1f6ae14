import { describe, expect, test } from "vitest";
import type { WatchTaskOptions } from "../../src/controller/controller.ts";
import { taskKey } from "../../src/store/keys.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import { controllerName, Harness, openHarness } from "../support/controller-harness.ts";
import { Puller, Watching } from "../support/watching.ts";

function watch(h: Harness, taskId: string, options?: WatchTaskOptions): Watching {
  return new Watching(h.controller.watchTask(taskId, options));
}

describe("a watch of an id that is free when it begins", () => {
  test("shows every task that came and went since, whether it was cut off or slow, and the id is free again or not", async () => {
    await using h = await openHarness();
    h.runner.scripts.running = () => undefined;
    let since = (await h.launch("another")).revision;
    const comeAndGo = async (): Promise<void> => {
      await h.launch("a");
      await h.settle();
      await h.controller.deleteTask("a");
    };
    for (let i = 0; i < 3; i += 1) await comeAndGo();
    for (let i = 0; i < 3; i += 1) {
      const watching = watch(h, "a", { sinceRevision: since, waitForLaunch: true });
      await watching.over;
      expect(watching.lines).toEqual(["Pending", "Running", "Completed"]);
      since = watching.lastRevision;
    }
    const slow = new Puller(h.controller.watchTask("a", { sinceRevision: since, waitForLaunch: true }));
    expect(await slow.next()).toBe("bookmark");
    await comeAndGo();
    await h.launch("a");
    expect(await slow.rest()).toEqual(["Pending", "Running", "Completed"]);
  });

  test("waits on when history has passed the deletion of the task that it has shown", async () => {
    await using h = new Harness(await openMemoryStore({ historyBytes: 50_000 }), {});
    h.runner.scripts.running = () => undefined;
    await h.open();
    await h.launch("a");
    await h.settle();
    const { revision } = await h.controller.readTask("a");
    const waiting = watch(h, "a", { sinceRevision: revision, waitForLaunch: true });
    await h.settle();
    await h.controller.deleteTask("a");
    for (let i = 0; i < 70; i += 1) {
      await h.launch(`other-${i}`);
      await h.clock.advance(15_000);
    }
    expect([h.disk.firstRevision() > revision, waiting.isOver]).toEqual([true, false]);
    waiting.take();
    await h.launch("a");
    await waiting.over;
    expect(waiting.lines).toEqual(["Pending", "Running", "Completed"]);
  });

  test("shows a task without the damaged one that had its id before", async () => {
    await using h = await openHarness();
    h.runner.scripts.running = () => undefined;
    const { revision } = await h.launch("another");
    await h.disk.commit([{ type: "put", key: taskKey(controllerName, "a"), value: new Uint8Array([255, 255]) }]);
    await h.controller.deleteTask("a");
    const waiting = watch(h, "a", { sinceRevision: revision, waitForLaunch: true });
    await h.settle();
    await h.launch("a");
    await waiting.over;
    expect(waiting.lines.slice(-3)).toEqual(["Pending", "Running", "Completed"]);
    const late = watch(h, "a", { sinceRevision: revision });
    await late.over;
    expect(late.lines).toEqual(["Pending", "Running", "Completed"]);
  });

  test("that nobody waits for to be launched shows them too, and is NOT_FOUND after the last", async () => {
    await using h = await openHarness();
    let since = (await h.launch("another")).revision;
    await h.launch("a");
    (await h.runner.phase("a")).return();
    await h.settle();
    await h.controller.deleteTask("a");
    const ended = watch(h, "a", { sinceRevision: since });
    await ended.over;
    expect(ended.lines).toEqual(["Pending", "Running", "Completed"]);
    since = ended.lastRevision;
    const gone = watch(h, "a", { sinceRevision: since });
    await gone.over;
    expect(gone.error).toMatchObject({ code: "NOT_FOUND" });
  });
});
