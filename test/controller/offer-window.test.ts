import { describe, expect, test } from "vitest";
import { OfferWindow } from "../../src/controller/offer-window.ts";

const timeoutMs = 5_000;

/** How many ms from `fromMs` on until the pause is over, in ticks of a second. */
function pauseOf(window: OfferWindow, fromMs: number): number {
  for (let nowMs = fromMs + 1_000; ; nowMs += 1_000) {
    if (window.tick({ nowMs, lastMs: nowMs - 1_000, maxMs: 2_000 })) return nowMs - fromMs;
  }
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
});
