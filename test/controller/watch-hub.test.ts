import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, test } from "vitest";
import { WatchHub } from "../../src/controller/watch-hub.ts";

const watchers = 1_000;

/** A hub in which a task has many watchers, who count how often they were woken. */
function crowded() {
  const hub = new WatchHub();
  const woken = Array.from({ length: watchers }, () => 0);
  const all = woken.map((_, i) => ({ wake: () => void (woken[i]! += 1) }));
  const places = all.map((watcher) => hub.join("a", watcher));
  return { hub, woken, all, place: places[0]!, count: () => woken.reduce((sum, each) => sum + each, 0) };
}

test("of a task with many watchers a few are woken in a turn of the event loop, and all in the end", async () => {
  const { hub, place, count } = crowded();
  hub.wake("a");
  expect([place.version, hub.size]).toEqual([1, watchers]);
  const counts = [count()];
  while ((counts.at(-1) ?? 0) < watchers && counts.length < watchers) {
    await nextTurn();
    counts.push(count());
  }
  expect(counts.at(-1)).toBe(watchers);
  const steps = counts.map((each, i) => each - (counts[i - 1] ?? 0));
  expect(Math.max(...steps)).toBeLessThanOrEqual(200);
  expect(counts[0]).toBeGreaterThan(0);
});

test("a watcher that was not woken yet when the task changes again is woken once, and one that has left not at all", async () => {
  const { hub, woken, all, place } = crowded();
  for (let i = 0; i < 3; i += 1) hub.wake("a");
  expect([place.version, woken[0], woken.at(-1)]).toEqual([3, 1, 0]);
  hub.leave(place, all.at(-2)!);
  for (let i = 0; i < 100; i += 1) await nextTurn();
  expect([woken.at(-1), woken.at(-2), hub.size]).toEqual([1, 0, watchers - 1]);
});

test("what is shared is kept while watchers are told, and not longer", async () => {
  const { hub, place } = crowded();
  const shared = { revision: 1n, waitingFor: "", change: { revision: 1n, status: undefined, logs: [] } };
  hub.wake("a");
  hub.share(place, shared);
  await nextTurn();
  expect(place.shared).toBe(shared);
  for (let i = 0; i < 100; i += 1) await nextTurn();
  expect(place.shared).toBeUndefined();
});

test("nothing is shared for one watcher", () => {
  const hub = new WatchHub();
  const place = hub.join("a", { wake() {} });
  hub.share(place, { revision: 1n, waitingFor: "", change: { revision: 1n, status: undefined, logs: [] } });
  expect(place.shared).toBeUndefined();
});
