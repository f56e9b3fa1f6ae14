import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Countdown, keepaliveMsOf, type Tick, Ticker, ticksPerLease } from "../../src/controller/remote-lease.ts";
import { createFakeClock } from "../support/fake-clock.ts";

const leaseMs = 16_000;
const intervalMs = leaseMs / ticksPerLease;
const maxMs = 2 * intervalMs;

interface World {
  /** How late each tick is, in turn; on time after the last. */
  readonly lateMs: readonly number[];
  /** When the messages of the one who is judged get to this machine, in order. */
  readonly arrivals: readonly number[];
  readonly untilMs: number;
}

/** When the lease is over; undefined when it is not by the end. Between two ticks is read what came before the first of them. */
function expiry({ lateMs, arrivals, untilMs }: World): number | undefined {
  const lease = new Countdown(leaseMs, 0);
  let lastMs = 0;
  let read = 0;
  for (let i = 0; ; i += 1) {
    const nowMs = lastMs + intervalMs + (lateMs[i] ?? 0);
    if (nowMs > untilMs) return undefined;
    if (lease.count({ nowMs, lastMs, maxMs })) return nowMs;
    for (; (arrivals[read] ?? Infinity) <= nowMs; read += 1) lease.renew(nowMs);
    lastMs = nowMs;
  }
}

function every(ms: number, untilMs: number): number[] {
  return Array.from({ length: Math.floor(untilMs / ms) }, (_, i) => (i + 1) * ms);
}

describe("a lease", () => {
  test("of one who says nothing more is over one lease and one or two ticks later", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: leaseMs }), (lastMs) => {
        const silence = (expiry({ lateMs: [], arrivals: [lastMs], untilMs: 10 * leaseMs }) ?? Infinity) - lastMs;
        expect(silence).toBeGreaterThan(leaseMs);
        expect(silence).toBeLessThanOrEqual(leaseMs * 1.2);
      }),
    );
  });

  test("of one who is heard every third of it is never over, however late the ticks are", () => {
    const lateness = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 100_000 }));
    fc.assert(
      fc.property(fc.array(lateness, { maxLength: 200 }), fc.integer({ min: 0, max: 5_300 }), (lateMs, firstMs) => {
        const untilMs = 600_000;
        const arrivals = every(leaseMs / 3, untilMs).map((ms) => ms + firstMs);
        expect(expiry({ lateMs, arrivals, untilMs })).toBeUndefined();
      }),
    );
  });

  test.each([100, 1_000, 5_000, 10_000, 20_000, 60_000])(
    "of none of 1,000 is over because this process was held up for %i ms, wherever that falls and though their messages take up to 1 s",
    (stallMs) => {
      for (let i = 0; i < 1_000; i += 1) {
        const stalledTick = i % 40;
        const phaseMs = (i * 7.3) % (leaseMs / 3);
        const delayMs = (i * 13) % 1_000;
        const lateMs = Array.from({ length: stalledTick + 1 }, (_, at) => (at === stalledTick ? stallMs : 0));
        // Where the whole machine stood still its peers wait for it: what they send meanwhile comes after the stall.
        const stall = { from: stalledTick * intervalMs, to: (stalledTick + 1) * intervalMs + stallMs };
        const isLost = i % 2 === 0;
        const sent = every(leaseMs / 3, 200_000).map((ms) => ms + phaseMs + delayMs);
        const arrivals = isLost ? sent.map((ms) => (ms > stall.from && ms < stall.to ? stall.to + delayMs : ms)) : sent;
        expect(expiry({ lateMs, arrivals, untilMs: 190_000 })).toBeUndefined();
      }
    },
  );

  test("is over though the ticks are late now and then: a stall counts for two ticks, not for nothing", () => {
    const silence = expiry({ lateMs: [0, 60_000, 0, 60_000], arrivals: [], untilMs: 1_000_000 }) ?? Infinity;
    expect(silence - 2 * 60_000).toBeLessThanOrEqual(leaseMs + 2 * intervalMs);
  });

  test("is not over at the tick at which it has run out, and goes on if it is renewed by the next", () => {
    const lease = new Countdown(100, 0);
    const tick = (nowMs: number): Tick => ({ nowMs, lastMs: nowMs - 100, maxMs: 200 });
    expect(lease.count(tick(100))).toBe(false);
    expect(lease.leftMs).toBe(0);
    lease.renew(150);
    expect(lease.count(tick(200))).toBe(false);
    expect(lease.leftMs).toBe(50);
    expect(lease.count(tick(300))).toBe(false);
    expect(lease.count(tick(400))).toBe(true);
  });

  test("stands still at a tick that counts nothing, and is judged two ticks after that at the earliest", () => {
    const lease = new Countdown(100, 0);
    const tick = (nowMs: number, max = 200): Tick => ({ nowMs, lastMs: nowMs - 100, maxMs: max });
    expect([lease.count(tick(100)), lease.count(tick(200, 0)), lease.count(tick(300)), lease.count(tick(400))]).toEqual(
      [false, false, false, true],
    );
  });

  test("that was spared has a tick more", () => {
    const lease = new Countdown(100, 0);
    const tick = (nowMs: number): Tick => ({ nowMs, lastMs: nowMs - 100, maxMs: 200 });
    lease.count(tick(100));
    lease.spare();
    expect([lease.count(tick(200)), lease.count(tick(300))]).toEqual([false, true]);
  });
});

describe("the ticker", () => {
  test("ticks a sixteenth of the lease apart from its start on, and not after it was stopped", async () => {
    const clock = createFakeClock();
    const ticks: Tick[] = [];
    const ticker = new Ticker({ leaseMs, clock, isServing: () => true, onTick: (tick) => ticks.push(tick) });
    await clock.advance(5_000);
    ticker.start();
    ticker.start();
    await clock.advance(2_500);
    expect(ticks).toEqual([
      { nowMs: 6_000, lastMs: 5_000, maxMs: 2_000 },
      { nowMs: 7_000, lastMs: 6_000, maxMs: 2_000 },
    ]);
    ticker.stop();
    await clock.advance(10_000);
    expect([ticks.length, clock.pending(), ticker.isRunning]).toEqual([2, 0, false]);
  });

  test("ticks no less often by a long lease than by one of a minute: offers and aborts are counted by it", () => {
    const clock = createFakeClock();
    const intervals = [5_000, 60_000, 61_000, 3_600_000].map((each) => {
      return new Ticker({ leaseMs: each, clock, isServing: () => true, onTick: () => {} }).intervalMs;
    });
    expect(intervals).toEqual([312.5, 3_750, 3_750, 3_750]);
    expect([5_000, 60_000, 61_000, 3_600_000].map((each) => Math.round(keepaliveMsOf(each)))).toEqual([
      1_667, 20_000, 20_000, 20_000,
    ]);
  });

  test("counts nothing while the server does not serve, and does not mind the wall clock", async () => {
    const clock = createFakeClock();
    const counted: number[] = [];
    let isServing = false;
    const ticker = new Ticker({
      leaseMs,
      clock,
      isServing: () => isServing,
      onTick: (tick) => counted.push(tick.maxMs),
    });
    ticker.start();
    await clock.advance(1_000);
    isServing = true;
    clock.jumpWall(86_400_000);
    await clock.advance(1_000);
    expect(counted).toEqual([0, 2_000]);
    ticker.stop();
  });

  test("that is stopped by what it calls does not go on", async () => {
    const clock = createFakeClock();
    const ticker: Ticker = new Ticker({ leaseMs, clock, isServing: () => true, onTick: () => ticker.stop() });
    ticker.start();
    await clock.advance(10_000);
    expect(clock.pending()).toBe(0);
  });
});
