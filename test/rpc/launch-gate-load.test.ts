/** The gate of launches before a server of which the clock is simulated: what it takes and refuses, and what the server makes of that. */
import { expect, test } from "vitest";
import { createAvailability } from "../../src/rpc/availability.ts";
import { Faults } from "../../src/faults.ts";
import { LaunchGate } from "../../src/rpc/launch-gate.ts";
import { createFakeClock } from "../support/fake-clock.ts";

/** What became of a call, and how many ms after it came. */
interface Outcome {
  readonly kind: "done" | "refused" | "left";
  readonly afterMs: number;
}

/** A server that works on one launch after the other, behind a gate; each takes `commitMs` more, side by side. */
function openServer(options: { launchMs: number; commitMs?: number }) {
  const clock = createFakeClock();
  const gate = new LaunchGate({ max: 128, clock, availability: createAvailability(), faults: new Faults() });
  const server = { launchMs: options.launchMs, done: 0 };
  let freeAtMs = 0;
  async function call(count: number, timeoutMs = 30_000): Promise<Outcome> {
    const fromMs = clock.mono();
    const ending = new AbortController();
    const cancel = clock.after(timeoutMs, () => ending.abort());
    const outcome = (kind: Outcome["kind"]): Outcome => ({ kind, afterMs: clock.mono() - fromMs });
    try {
      const timeLeftMs = () => timeoutMs - (clock.mono() - fromMs);
      const leave = await gate.enter(count, {
        method: { name: "LaunchTask" },
        signal: ending.signal,
        timeoutMs: timeLeftMs,
      });
      freeAtMs = Math.max(freeAtMs, clock.mono()) + count * server.launchMs;
      const leftMs = freeAtMs - clock.mono() + (options.commitMs ?? 0);
      await new Promise<void>((resolve) => clock.after(leftMs, resolve));
      leave();
      if (ending.signal.aborted) return outcome("left");
      server.done += count;
      return outcome("done");
    } catch {
      return outcome(ending.signal.aborted ? "left" : "refused");
    } finally {
      cancel();
    }
  }
  return {
    clock,
    server,
    call,
    /** Nothing moves for so long. */
    stall: (ms: number) => void (freeAtMs = Math.max(freeAtMs, clock.mono()) + ms),
    /** Makes calls of `count` launches at a rate, in launches a second. */
    async offer(perSecond: number, seconds: number, { count = 1, timeoutMs = 30_000 } = {}) {
      const calls: Promise<Outcome>[] = [];
      const stepMs = 20;
      for (let ms = 0; ms < seconds * 1_000; ms += stepMs) {
        while (calls.length * count < ((ms + stepMs) / 1_000) * perSecond) calls.push(call(count, timeoutMs));
        await clock.advance(stepMs);
      }
      return { calls };
    },
    /** What became of the calls when all of them are over. */
    async outcomesOf(calls: readonly Promise<Outcome>[]): Promise<Outcome[]> {
      await clock.advance(60_000);
      return Promise.all(calls);
    },
  };
}

const countOf = (outcomes: readonly Outcome[], kind: Outcome["kind"]): number =>
  outcomes.filter((each) => each.kind === kind).length;

test("at four times what a server can do it does all that it can; who is refused is told when it comes, and who is taken has its turn within a second or so", async () => {
  for (const count of [1, 50]) {
    const { server, offer, outcomesOf } = openServer({ launchMs: 1 });
    const { calls } = await offer(4_000, 10, { count });
    expect(server.done).toBeGreaterThan(9_500);
    const outcomes = await outcomesOf(calls);
    const waits = outcomes.map(({ afterMs }) => afterMs);
    expect(outcomes.filter(({ kind, afterMs }) => kind === "refused" && afterMs > 0)).toEqual([]);
    expect(countOf(outcomes, "left")).toBe(0);
    expect(countOf(outcomes, "refused") / outcomes.length).toBeGreaterThan(0.6);
    expect(Math.max(...waits)).toBeLessThan(3_000);
    // The first second of it is a burst; after that they wait as long as they may.
    expect(Math.max(...waits.slice(-waits.length / 2))).toBeLessThan(1_400);
    // And when it is over, it is over.
    const [after] = await outcomesOf((await offer(50, 0.02)).calls);
    expect(after?.kind).toBe("done");
    expect(after?.afterMs).toBeLessThan(5);
  }
});

test("what calls have left of their time is not spent in line: at four times what a server can do those with little of it are answered too", async () => {
  const { server, offer } = openServer({ launchMs: 1 });
  await offer(4_000, 5, { timeoutMs: 400 });
  // All that it works on is for somebody who is still there.
  expect(server.done).toBeGreaterThan(4_500);
});

test("a line is measured in launches: single ones beside batches of a thousand are not refused while the server can do both", async () => {
  const { clock, call, server, outcomesOf } = openServer({ launchMs: 0.25 });
  const singles: Promise<Outcome>[] = [];
  const batches: Promise<Outcome>[] = [];
  let isOver = false;
  const client = (async () => {
    while (!isOver) {
      const batch = call(1_000);
      batches.push(batch);
      await batch;
    }
  })();
  for (let second = 0; second < 20; second += 1) {
    for (let i = 0; i < 50; i += 1) singles.push(call(1));
    await clock.advance(500);
    // And some that come while others wait, as a batch takes its time.
    for (let i = 0; i < 10; i += 1) singles.push(call(1));
    await clock.advance(500);
  }
  isOver = true;
  const outcomes = await outcomesOf(singles);
  expect(countOf(outcomes, "refused")).toBe(0);
  expect(countOf(await Promise.all(batches), "refused")).toBe(0);
  expect(server.done).toBeGreaterThan(20 * 3_900);
  await client;
});

test("a batch that comes while few are inside makes no line: those that come beside it a moment later are taken", async () => {
  const { clock, call, outcomesOf } = openServer({ launchMs: 0.25, commitMs: 8 });
  const calls = [call(1)];
  await clock.advance(2);
  calls.push(call(1_000));
  await clock.advance(3);
  calls.push(call(1), call(1_000), call(1));
  expect(countOf(await outcomesOf(calls), "done")).toBe(5);
});

test.each([
  // How often a batch comes, of how many; and how often single launches.
  { load: "25 %", batchEveryMs: 1_000, count: 970, singleEveryMs: 33 },
  { load: "25 %, in batches of 200", batchEveryMs: 210, count: 200, singleEveryMs: 20 },
  { load: "55 %", batchEveryMs: 500, count: 1_000, singleEveryMs: 5 },
])("at $load of what a server can do, in single launches and in batches, nobody is refused", async (offered) => {
  for (const commitMs of [0, 8, 50]) {
    const { clock, call, outcomesOf } = openServer({ launchMs: 0.25, commitMs });
    const calls: Promise<Outcome>[] = [];
    for (let ms = 0; ms < 10_000; ms += 1) {
      if (ms % offered.batchEveryMs === 3) calls.push(call(offered.count));
      if (ms % offered.singleEveryMs === 0) calls.push(call(1));
      await clock.advance(1);
    }
    expect(countOf(await outcomesOf(calls), "refused"), `${commitMs} ms a commit`).toBe(0);
  }
});

test("batches of a thousand that each take seconds do not make a line of those that come beside them", async () => {
  const { clock, call, outcomesOf } = openServer({ launchMs: 2.5 });
  const calls = [call(1_000)];
  for (let i = 0; i < 60; i += 1) {
    calls.push(call(1));
    await clock.advance(40);
  }
  expect(countOf(await outcomesOf(calls), "refused")).toBe(0);
});

test("no pace is kept: after a slow moment, and after one in which nothing moved, as many are taken as before it", async () => {
  const { clock, server, call, stall, outcomesOf } = openServer({ launchMs: 0.1 });
  const three = () => [call(1_000), call(1_000), call(1_000)];
  for (let i = 0; i < 5; i += 1) expect(countOf(await outcomesOf(three()), "done")).toBe(3);
  server.launchMs = 3;
  const slow = three();
  await clock.advance(2_000);
  await outcomesOf([...slow, call(1)]);
  server.launchMs = 0.1;
  const [alone, ...rest] = await outcomesOf([...three(), ...Array.from({ length: 30 }, () => call(1))]);
  expect(alone?.afterMs).toBeLessThan(150);
  expect(countOf(rest, "done")).toBe(32);
  stall(5_000);
  const stalled = [call(1)];
  await clock.advance(6_000);
  expect(countOf(await outcomesOf([...stalled, ...three()]), "done")).toBe(4);
});

test("a stall does not outlast itself: while some are still there who came in it, nobody is refused for whom there would be room", async () => {
  const { server, stall, offer, outcomesOf } = openServer({ launchMs: 1 });
  await offer(900, 2);
  stall(3_000);
  await offer(900, 3);
  const doneBefore = server.done;
  const { calls } = await offer(900, 4);
  // It makes up for nothing, and loses nothing: whenever there is work it works.
  expect(server.done - doneBefore).toBeGreaterThan(3_500);
  await outcomesOf(calls);
  expect(countOf(await outcomesOf((await offer(900, 2)).calls), "refused")).toBe(0);
});
