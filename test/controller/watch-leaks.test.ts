/**
 * What watches leave behind, in handles and in memory: nothing.
 *
 * WATCH_CYCLES: how many come and go (default 10,000; 1,000,000 is the promise, and takes some minutes). Where it is set, the bytes of
 * heap after a tenth of them and after all are printed.
 */
import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { Lifetime } from "../../src/async/lifetime.ts";
import { Actors } from "../../src/controller/actors.ts";
import { Callbacks } from "../../src/controller/callbacks.ts";
import type { Core } from "../../src/controller/core.ts";
import { Deliveries } from "../../src/controller/deliveries.ts";
import { launchTask } from "../../src/controller/launch-task.ts";
import { defaultControllerLimits } from "../../src/controller/open-controller.ts";
import type { Parts } from "../../src/controller/parts.ts";
import { Quarantine } from "../../src/controller/quarantine.ts";
import { Runs } from "../../src/controller/runs.ts";
import { createStoreGuard } from "../../src/controller/store-guard.ts";
import { TaskCounts } from "../../src/controller/task-counts.ts";
import { Trash } from "../../src/controller/trash.ts";
import { WatchHub } from "../../src/controller/watch-hub.ts";
import { watchTask } from "../../src/controller/watch-task.ts";
import { Faults } from "../../src/faults.ts";
import { silentLog } from "../../src/log.ts";
import { systemRandom } from "../../src/random.ts";
import { LocalHost } from "../../src/controller/local-host.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { heapBytes } from "../support/heap.ts";
import { ScriptedRunner } from "../support/scripted-runner.ts";
import { Puller, Watching } from "../support/watching.ts";

const cycles = Number(process.env["WATCH_CYCLES"] ?? 10_000);

test(`${cycles} watches that come and go leave nothing behind`, {
  timeout: cycles > 10_000 ? 7_200_000 : 180_000,
}, async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on("warning", onWarning);
  const clock = createFakeClock();
  const closing = new AbortController();
  const runner = new ScriptedRunner();
  const parts = await createParts(closing.signal, clock, runner);
  await launchTask(parts, "a", {});
  const phase = await runner.phase("a");
  const longLived = new AbortController();
  const actors = parts.actors.size;
  const listeners = getEventListeners(closing.signal, "abort").length;
  const timers = clock.pending();
  const ways: Array<(puller: Puller, leaving: AbortController, cycle: number) => Promise<unknown>> = [
    (puller) => puller.leave(),
    async (puller) => {
      expect(await puller.next()).toMatch(/^Running/);
      await puller.leave();
    },
    async (puller, leaving) => {
      await puller.next();
      const waiting = puller.next();
      leaving.abort();
      expect(await waiting).toBeUndefined();
    },
    async (puller, leaving, cycle) => {
      await puller.next();
      const waiting = puller.next();
      // Each commit leaves a version in the store's history, which is not what is measured here.
      if (cycle % 1_000 < 4) await phase.task.setProgress({ current: 1 });
      else parts.core.hub.wake("a");
      leaving.abort();
      await waiting;
      await puller.leave();
    },
  ];
  const heap: number[] = [];
  for (let i = 0; i < cycles; i += 1) {
    // What is made once, such as compiled code, is there after a tenth.
    if (i === Math.floor(cycles / 10)) heap.push(heapBytes());
    const leaving = new AbortController();
    const signal = i % 2 === 0 || i % 4 > 1 ? leaving.signal : longLived.signal;
    const puller = new Puller(watchTask(parts, "a", { signal, includeLogs: i % 3 === 0 }));
    await ways[i % ways.length]?.(puller, leaving, i);
    if (i % 1_000 === 0) await clock.advance(0);
  }
  await clock.advance(0);
  heap.push(heapBytes());
  if (process.env["WATCH_CYCLES"] !== undefined) process.stderr.write(`bytes of heap: ${heap.join(", ")}\n`);
  expect((heap.at(-1) ?? 0) - (heap[0] ?? 0), "bytes of heap more").toBeLessThan(1_500_000);
  expect(parts.core.hub.size).toBe(0);
  expect(parts.actors.size).toBe(actors);
  expect(clock.pending()).toBe(timers);
  expect(getEventListeners(closing.signal, "abort").length).toBe(listeners);
  expect(getEventListeners(longLived.signal, "abort")).toEqual([]);
  expect(warnings).toEqual([]);
  process.off("warning", onWarning);
  phase.return();
  await clock.advance(0);
  expect(parts.actors.size).toBe(0);
});

test("a watch that is silent for a month costs no more than one that has just begun", {
  timeout: 120_000,
}, async () => {
  const clock = createFakeClock();
  const closing = new AbortController();
  const runner = new ScriptedRunner();
  const parts = await createParts(closing.signal, clock, runner);
  await launchTask(parts, "a", {});
  const phase = await runner.phase("a");
  const puller = new Puller(watchTask(parts, "a", {}));
  await puller.next();
  const read = async (bookmarks: number): Promise<void> => {
    for (let i = 0; i < bookmarks; i += 1) {
      const next = puller.next();
      await clock.advance(15_000);
      expect(await next).toBe("bookmark");
      puller.changes.length = 0;
    }
  };
  await read(1_000);
  const before = heapBytes();
  await read(20_000);
  expect(heapBytes() - before, "bytes of heap more").toBeLessThan(1_500_000);
  const watching = new Watching(watchTask(parts, "a", {}));
  phase.return();
  await watching.over;
  await puller.leave();
  expect(parts.core.hub.size).toBe(0);
});

/** The parts of a controller, so that what they hold can be counted. */
async function createParts(closing: AbortSignal, clock: Core["clock"], runner: ScriptedRunner): Promise<Parts> {
  const store = await openMemoryStore({ clock });
  const log = silentLog;
  const faults = new Faults();
  const random = systemRandom;
  const guard = createStoreGuard({ store, clock, random, log });
  const limits = defaultControllerLimits;
  const lifetime = new Lifetime(() => new Error("closed"));
  const hub = new WatchHub();
  const quarantine = new Quarantine(faults);
  const host = new LocalHost({ clock, faults, closing, lifetime }, { runner, concurrency: 10 });
  const ports = { store, guard, host, clock, random, log, faults };
  const state = {
    isRetired: false,
    refuseLaunch: () => undefined,
    limits,
    hub,
    quarantine,
    closing,
    lifetime,
  };
  const name = "tests";
  const core: Core = { name, ...ports, ...state, counts: new TaskCounts({ name, store }) };
  const actors = new Actors(core);
  const callbacks = new Callbacks(log);
  const trash = new Trash(core);
  const deliveries = new Deliveries(core, callbacks);
  const timeouts = { pending: Infinity, running: Infinity };
  const runs = new Runs(core, { actors, deliveries, trash, timeouts });
  runs.dispatcher.open();
  return { core, actors, callbacks, trash, runs };
}
