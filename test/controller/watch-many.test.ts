/** Many watches of one task: what they cost while nothing happens, and what they share when something does. */
import { getEventListeners } from "node:events";
import { describe, expect, test } from "vitest";
import type { AskedIterator } from "../../src/async/asking.ts";
import type { TaskChange, WatchTaskOptions } from "../../src/controller/controller.ts";
import { GatedStore } from "../support/gated-store.ts";
import { type Harness, observed, openHarness } from "../support/controller-harness.ts";
import { Puller, Watching, turnsUntil } from "../support/watching.ts";

const watchers = 250;

function watchMany(h: Harness, options?: WatchTaskOptions): Watching[] {
  return Array.from({ length: watchers }, () => new Watching(h.controller.watchTask("a", options)));
}

function allHave(watching: readonly Watching[], changes: number): Promise<void> {
  return turnsUntil(() => watching.every((each) => each.changes.length >= changes));
}

test("watches that wait cost one timer together, and each of them its bookmarks", async () => {
  await using h = await openHarness();
  await h.launch("a");
  const phase = await h.runner.phase("a");
  await h.settle();
  const timers = h.clock.pending();
  const watching = watchMany(h);
  await allHave(watching, 1);
  await h.settle();
  expect(h.clock.pending()).toBe(timers + 1);
  await h.clock.advance(15_000);
  await allHave(watching, 2);
  expect(new Set(watching.map(({ lines }) => lines.join()))).toEqual(new Set(["Running,bookmark"]));
  phase.return();
  await Promise.all(watching.map(({ over }) => over));
  expect(new Set(watching.map(({ lines }) => lines.join()))).toEqual(new Set(["Running,bookmark,Completed"]));
});

describe.each([
  ["small enough for the task's own record", 10],
  ["a record of its own", 2_000],
])("changes of a task whose metadata is %s", (_, length) => {
  test.each([true, false])(
    "are one object for all who share them, and else each watcher's own (%s)",
    async (shareChanges) => {
      await using h = await openHarness();
      const metadata = { text: "m".repeat(length) };
      await h.launch("a", { metadata });
      const phase = await h.runner.phase("a");
      const watching = watchMany(h, { shareChanges });
      await allHave(watching, 1);
      await h.settle();
      await h.clock.advance(200);
      await phase.task.setProgress({ current: 7 });
      await allHave(watching, 2);
      phase.return();
      await Promise.all(watching.map(({ over }) => over));
      for (const { lines, changes } of watching) {
        expect(lines).toEqual(["Running", "Running 7/0", "Completed 7/0"]);
        expect(changes[1]?.status?.metadata).toBe(JSON.stringify(metadata));
      }
      const objects = new Set(watching.map(({ changes }) => changes[1]?.status)).size;
      if (shareChanges) expect(objects).toBeLessThanOrEqual(3);
      else expect(objects).toBe(watchers);
    },
  );
});

test("who shares changes is shown log entries, pauses and ends of its own", async () => {
  await using h = await openHarness();
  await h.launch("a");
  const phase = await h.runner.phase("a");
  const plain = watchMany(h, { shareChanges: true });
  const withLogs = new Watching(h.controller.watchTask("a", { shareChanges: true, includeLogs: true }));
  await allHave([...plain, withLogs], 1);
  await phase.task.addLogEntry("info", "one");
  await phase.task.setProgress({ current: 1 });
  await h.clock.advance(100);
  await allHave([...plain, withLogs], 2);
  phase.return();
  await Promise.all([...plain, withLogs].map(({ over }) => over));
  expect(withLogs.lines).toEqual(["Running", "Running 1/0 +1", "Completed 1/0"]);
  for (const { seqs, lines } of plain) expect([seqs, lines.at(-1)]).toEqual([[], "Completed 1/0"]);
});

describe("a watch that is told to return", () => {
  test.each(["waits for a change", "waits out a progress", "reads a store that does not answer"])(
    "while it %s is over at once, and leaves nothing behind",
    async (when) => {
      let store: GatedStore | undefined;
      await using h = await openHarness({ wrap: (inner) => (store ??= new GatedStore(inner)) });
      await h.launch("a");
      const phase = await h.runner.phase("a");
      const timers = h.clock.pending();
      const leaving = new AbortController();
      const iterator = h.controller.watchTask("a", { signal: leaving.signal })[Symbol.asyncIterator]();
      if (when.startsWith("reads")) store?.hold("/tasks/tests/a");
      else await iterator.next();
      const next = observed(iterator.next());
      await h.settle();
      if (when.startsWith("waits out")) await phase.task.setProgress({ current: 1 });
      await h.settle();
      expect(next.state()).toBe("waiting");
      await iterator.return?.();
      expect(await next.promise).toEqual({ done: true, value: undefined });
      expect(await iterator.next()).toEqual({ done: true, value: undefined });
      expect(getEventListeners(leaving.signal, "abort")).toEqual([]);
      expect(h.clock.pending()).toBe(timers);
      store?.release();
      phase.return();
    },
  );
});

test("several messages that are asked for at once come in their order", async () => {
  await using h = await openHarness();
  await h.launch("a");
  const phase = await h.runner.phase("a");
  const iterator = h.controller.watchTask("a")[Symbol.asyncIterator]();
  const all = [iterator.next(), iterator.next(), iterator.next(), iterator.next()];
  await h.settle();
  phase.return();
  const states = (await Promise.all(all)).map(({ value, done }) => (done === true ? "done" : value.status?.state));
  expect(states).toEqual([2, 3, "done", "done"]);
});

test("a watch of a slow reader says once that its controller has closed, and is over then", async () => {
  const h = await openHarness();
  await h.launch("a");
  const puller = new Puller(h.controller.watchTask("a"));
  expect(await puller.next()).toBe("Running");
  await h.close();
  await expect(puller.next()).rejects.toMatchObject({ code: "UNAVAILABLE", details: { reason: "DRAINING" } });
  expect(await puller.next()).toBeUndefined();
});

test("a slow reader is shown the end of a task that was deleted, though the launch of the next is all that is in memory", async () => {
  await using h = await openHarness();
  await h.launch("a");
  const phase = await h.runner.phase("a");
  const slow = new Puller(h.controller.watchTask("a"));
  expect(await slow.next()).toBe("Running");
  phase.return();
  await h.settle();
  await h.controller.deleteTask("a");
  h.runner.scripts.pending = "hold";
  await h.launch("a");
  const pending = await h.runner.phase("a", "pending");
  expect([await slow.next(), await slow.next()]).toEqual(["Completed", undefined]);
  pending.return();
  (await h.runner.phase("a")).return();
});

test("what one who watches alone does to a change of its own is not seen by anybody", async () => {
  await using h = await openHarness();
  await h.launch("a");
  const phase = await h.runner.phase("a");
  const watching = new Watching(h.controller.watchTask("a"));
  await allHave([watching], 1);
  await h.settle();
  await h.clock.advance(200);
  await phase.task.setProgress({ current: 7 });
  await allHave([watching], 2);
  const { status } = watching.changes[1]!;
  status!.progress!.current = 8n;
  status!.transitions.length = 0;
  expect(await phase.task.getProgress()).toMatchObject({ current: 7n });
  expect((await h.controller.taskStatus("a")).transitions).toHaveLength(2);
  phase.return();
  await watching.over;
});

test("who asks without a promise, and again while it is told, gets the same as one who waits for promises", async () => {
  await using h = await openHarness();
  await h.launch("a");
  const phase = await h.runner.phase("a");
  const watching = new Watching(h.controller.watchTask("a", { shareChanges: true }));
  const iterator = h.controller
    .watchTask("a", { shareChanges: true })
    [Symbol.asyncIterator]() as AskedIterator<TaskChange>;
  const told: Array<bigint | "over"> = [];
  const ask = (): void => iterator.ask({ resolve, reject: (error) => told.push(String(error) as never) });
  const resolve = (next: IteratorResult<TaskChange, undefined>): void => {
    told.push(next.done === true ? "over" : next.value.revision);
    if (next.done !== true) ask();
  };
  ask();
  await allHave([watching], 1);
  for (const current of [7, 8]) {
    await h.settle();
    await h.clock.advance(200);
    await phase.task.setProgress({ current });
  }
  await allHave([watching], 3);
  phase.return();
  await watching.over;
  expect(told).toEqual([...watching.changes.map(({ revision }) => revision), "over"]);
  ask();
  expect(told.slice(-2)).toEqual(["over", "over"]);
});
