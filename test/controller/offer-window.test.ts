import { describe, expect, test } from "vitest";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { PhaseEndSchema, RunPhase } from "#gen/stint/v1/runner_pb.js";
import { OfferWindow } from "../../src/controller/offer-window.ts";

const timeoutMs = 5_000;

/** How many ms from `fromMs` on until the pause is over, in ticks of a second. */
function pauseOf(window: OfferWindow, fromMs: number): number {
  for (let nowMs = fromMs + 1_000; ; nowMs += 1_000) {
    if (window.tick({ nowMs, lastMs: nowMs - 1_000, maxMs: 2_000 })) return nowMs - fromMs;
  }
}

const done = { case: "done", value: {} } as const;

function giveBack(window: OfferWindow, nowMs: number, isAborted = false): void {
  const end = create(PhaseEndSchema, { phase: RunPhase.RUNNING, outcome: { case: "released", value: {} } });
  window.phaseEnds(end, { isAborted, nowMs });
}

describe("how many offers may be under way", () => {
  test("doubles with each that is accepted, from 1 to 64", () => {
    const window = new OfferWindow(timeoutMs);
    const sizes = [window.size];
    for (let i = 0; i < 8; i += 1) {
      window.accepted();
      sizes.push(window.size);
    }
    expect(sizes).toEqual([1, 2, 4, 8, 16, 32, 64, 64, 64]);
  });

  test("is 0 after one that lapsed, for one timeout and a tick, and then 1", () => {
    const window = new OfferWindow(timeoutMs);
    for (let i = 0; i < 8; i += 1) window.accepted();
    for (let fence = 1n; fence < 20n; fence += 1n) window.lapsed(fence, 0);
    expect(window.size).toBe(0);
    expect(pauseOf(window, 0)).toBe(timeoutMs + 1_000);
    expect(window.size).toBe(1);
  });

  test("is 0 for twice as long with each lapse in a row, 5 min at most; an acceptance begins anew", () => {
    const window = new OfferWindow(timeoutMs);
    const pauses: number[] = [];
    let nowMs = 0;
    for (let fence = 1n; fence < 10n; fence += 1n) {
      window.lapsed(fence, nowMs);
      const pause = pauseOf(window, nowMs);
      pauses.push(pause - 1_000);
      nowMs += pause;
    }
    expect(pauses).toEqual([5, 10, 20, 40, 80, 160, 300, 300, 300].map((s) => s * 1_000));
    window.accepted();
    window.lapsed(20n, nowMs);
    expect(pauseOf(window, nowMs)).toBe(timeoutMs + 1_000);
  });

  test("is what it was before as soon as one is accepted that had lapsed, once for each", () => {
    const window = new OfferWindow(timeoutMs);
    window.lapsed(1n, 0);
    expect([window.acceptedLate(2n), window.size]).toEqual([false, 0]);
    expect([window.acceptedLate(1n), window.size]).toEqual([true, 1]);
    window.lapsed(3n, 0);
    expect([window.acceptedLate(1n), window.size]).toEqual([false, 0]);
  });

  test("is 1 after a task that was given back, and grows again; from the second in a row on there is a pause, which doubles", () => {
    const window = new OfferWindow(timeoutMs);
    for (let i = 0; i < 3; i += 1) window.accepted();
    giveBack(window, 0);
    expect(window.size).toBe(1);
    window.accepted();
    expect(window.size).toBe(2);
    const pauses: number[] = [];
    let nowMs = 0;
    for (let i = 0; i < 8; i += 1) {
      giveBack(window, nowMs);
      giveBack(window, nowMs);
      // Each that is given back was accepted.
      window.accepted();
      expect(window.size).toBe(0);
      const pause = pauseOf(window, nowMs);
      expect(window.size).toBe(1);
      pauses.push(pause - 1_000);
      nowMs += pause;
    }
    expect(pauses).toEqual([5, 10, 20, 40, 80, 160, 300, 300].map((s) => s * 1_000));
  });

  test.each([
    ["the end of a run", { phase: RunPhase.RUNNING, outcome: done }, [1, 2]],
    ["a failure in PENDING", { phase: RunPhase.PENDING, outcome: { case: "failed", value: {} } }, [1, 2]],
    ["the end of PENDING alone", { phase: RunPhase.PENDING, outcome: done }, [0, 0]],
  ] as const)("of one that has given tasks back is changed by %s", (_, end, sizes) => {
    const window = new OfferWindow(timeoutMs);
    giveBack(window, 0);
    giveBack(window, 0);
    window.phaseEnds(create(PhaseEndSchema, end as MessageInitShape<typeof PhaseEndSchema>), {
      isAborted: false,
      nowMs: 0,
    });
    const size = window.size;
    window.accepted();
    expect([size, window.size]).toEqual(sizes);
  });

  test("is what it was where the runner had been told to stop", () => {
    const window = new OfferWindow(timeoutMs);
    window.accepted();
    for (let i = 0; i < 3; i += 1) giveBack(window, 0, true);
    expect(window.size).toBe(2);
  });
});
