import { expect, test } from "vitest";
import { Lifetime } from "../../src/async/lifetime.ts";
import { once, untilDone } from "../../src/controller/commit.ts";
import { createStoreGuard } from "../../src/controller/store-guard.ts";
import { Faults } from "../../src/faults.ts";
import type { Log } from "../../src/log.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import { StoreError } from "../../src/store/store.ts";
import { observed } from "../support/controller-harness.ts";
import { createFakeClock } from "../support/fake-clock.ts";

/** A guard over a store whose next reopenings fail, and what it did. */
async function openGuard(failures: number) {
  const clock = createFakeClock();
  const store = await openMemoryStore({ clock });
  const reopenedMs: number[] = [];
  let left = failures;
  const reopen = async (): Promise<void> => {
    reopenedMs.push(clock.mono());
    if ((left -= 1) >= 0) throw new StoreError("UNAVAILABLE", `failure ${failures - left}`);
  };
  const logged: string[] = [];
  const say = (_: object, message: string): void => void logged.push(message);
  const log: Log = { debug: say, info: say, warn: say, error: say };
  const random = { id: () => "id", fraction: () => 0.5 };
  const faults = new Faults({ clock, log });
  const guard = createStoreGuard({ store: { ...store, reopen }, clock, random, log, faults });
  const health: boolean[] = [];
  const offHealth = guard.onChange((healthy) => health.push(healthy));
  return { clock, guard, faults, reopenedMs, logged, health, offHealth, failMore: (n: number) => (left = n) };
}

test("a guard tries again with a delay that doubles up to 2 s, and warns once, however many report and wait", async () => {
  const { clock, guard, faults, reopenedMs, logged, health } = await openGuard(10);
  const waiting = Array.from({ length: 5 }, () => observed(guard.recover(new Error("disk"))));
  await clock.advance(0);
  expect([guard.healthy, logged]).toEqual([false, ["the store fails; trying to bring it back"]]);
  await clock.advance(8_539);
  expect(waiting.map((each) => each.state())).toEqual(Array.from({ length: 5 }, () => "waiting"));
  await clock.advance(30_000);
  const delays = reopenedMs.slice(1).map((ms, i) => ms - (reopenedMs[i] ?? 0));
  expect(delays).toEqual([20, 40, 80, 160, 320, 640, 1_280, 2_000, 2_000, 2_000]);
  expect(waiting.map((each) => each.state())).toEqual(Array.from({ length: 5 }, () => "done"));
  expect([guard.healthy, guard.failure, health]).toEqual([true, undefined, [false, true]]);
  expect(logged).toEqual(["the store fails; trying to bring it back", "the store is back"]);
  // Five that report and ten reopenings.
  expect(faults.counts()).toMatchObject({ storage_errors: 15, store_reopens: 1 });
});

test("a guard that is healthy again warns of the next failure, and tells only those who still listen", async () => {
  const { clock, guard, logged, health, offHealth, failMore } = await openGuard(0);
  await guard.recover(new Error("first"));
  failMore(1);
  offHealth();
  const waiting = observed(guard.recover(new Error("second")));
  await clock.advance(100);
  expect([waiting.state(), guard.healthy]).toEqual(["done", true]);
  expect(logged).toHaveLength(4);
  expect(health).toEqual([false, true]);
});

test("who tries a store that fails again as soon as it is back is held up ever longer, and nobody else is", async () => {
  const { clock, guard, reopenedMs, logged } = await openGuard(0);
  const lifetime = new Lifetime(() => new Error("closed"));
  const core = { store: await openMemoryStore({ clock }), guard, lifetime };
  // Such as one with a place on the disk that cannot be read.
  const read = async (): Promise<string> => {
    if (clock.mono() < 60_000) throw new StoreError("UNAVAILABLE", "reading failed");
    return "read";
  };
  const reading = [1, 2, 3].map(() => observed(untilDone(core, read)));
  await clock.advance(30_000);
  const delays = reopenedMs.slice(1).map((ms, i) => ms - (reopenedMs[i] ?? 0));
  expect(delays.slice(0, 10)).toEqual([0, 20, 40, 80, 160, 320, 640, 1_280, 2_000, 2_000]);
  expect(logged).toHaveLength(2 * reopenedMs.length);
  for (let i = 0; i < 50; i += 1) {
    await expect(once(core, read)).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await clock.advance(10);
    expect(guard.healthy).toBe(true);
  }
  expect(logged.length).toBeLessThanOrEqual(2 * delays.length + 4);
  await clock.advance(32_000);
  expect(reading.map((each) => each.state())).toEqual(["done", "done", "done"]);
  // One that was well for a while is tried again at once.
  await clock.advance(10_000);
  await guard.recover(new Error("another"));
  expect(reopenedMs.at(-1)).toBe(clock.mono());
});

test("a guard that is closed gives up, rejects those who wait, and leaves no timer", async () => {
  const { clock, guard } = await openGuard(1_000);
  const waiting = observed(guard.recover(new Error("disk")));
  await clock.advance(5_000);
  guard.close();
  await clock.advance(0);
  await expect(waiting.promise).rejects.toThrow("failure");
  expect([guard.healthy, clock.pending()]).toEqual([false, 0]);
  guard.close();
});

test("a failure that is known is what later reports wait for, and why the store fails is shown", async () => {
  const { clock, guard } = await openGuard(2);
  void guard.recover(new Error("disk"));
  expect(guard.failure).toMatchObject({ message: "disk" });
  await clock.advance(10);
  expect(guard.failure).toMatchObject({ message: expect.stringContaining("failure") as string });
  const late = observed(guard.recover(new Error("another")));
  await clock.advance(1_000);
  expect([late.state(), guard.failure]).toEqual(["done", undefined]);
});
