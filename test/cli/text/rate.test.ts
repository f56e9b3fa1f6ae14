import { describe, expect, test } from "vitest";
import { createRateEstimator, timeLeftMs } from "../../../src/cli/text/rate.ts";

describe("the rate", () => {
  test("is not known before two values", () => {
    const rate = createRateEstimator();
    expect(rate.perSecond(0)).toBeUndefined();
    rate.add(5n, 0);
    expect(rate.perSecond(1000)).toBeUndefined();
  });

  test("is exact from the first interval on, where the work goes evenly", () => {
    const rate = createRateEstimator();
    for (let second = 0; second <= 20; second += 1) {
      rate.add(BigInt(second * 7), second * 1000);
      if (second > 0) expect(rate.perSecond(second * 1000)).toBeCloseTo(7, 9);
    }
  });

  test("follows a change smoothly", () => {
    const rate = createRateEstimator(8000);
    let current = 0n;
    for (let second = 0; second <= 60; second += 1) rate.add((current += 10n), second * 1000);
    rate.add((current += 100n), 61_000);
    expect(rate.perSecond(61_000)).toBeGreaterThan(10);
    expect(rate.perSecond(61_000)).toBeLessThan(30);
    for (let second = 62; second <= 120; second += 1) rate.add((current += 100n), second * 1000);
    expect(rate.perSecond(120_000)).toBeCloseTo(100, 0);
  });

  test("weighs uneven intervals by their length", () => {
    const rate = createRateEstimator(1e9);
    rate.add(0n, 0);
    rate.add(100n, 1000);
    rate.add(100n + 9n, 10_000);
    expect(rate.perSecond(10_000)).toBeCloseTo(10.9, 3);
  });

  test("sinks in a stall, and not between two steps of slow work", () => {
    const rate = createRateEstimator(8000);
    rate.add(0n, 0);
    rate.add(10n, 10_000);
    expect(rate.perSecond(25_000)).toBeCloseTo(1, 9);
    expect(rate.perSecond(60_000)).toBeLessThan(0.05);
  });

  test("does not mind values of one moment and values that say nothing new", () => {
    const rate = createRateEstimator();
    rate.add(0n, 0);
    rate.add(3n, 0);
    rate.add(0n, 500);
    rate.add(10n, 1000);
    expect(rate.perSecond(1000)).toBeGreaterThan(0);
    expect(Number.isFinite(rate.perSecond(1000))).toBe(true);
  });

  test("starts anew where there is less than before", () => {
    const rate = createRateEstimator();
    rate.add(0n, 0);
    rate.add(100n, 1000);
    rate.add(1n, 2000);
    expect(rate.perSecond(2000)).toBeUndefined();
    rate.add(3n, 3000);
    expect(rate.perSecond(3000)).toBeCloseTo(2, 9);
  });
});

test.each([
  ["what is left by the rate", 4n, 10n, 2, 3000],
  ["none when more is done than there was to do", 12n, 10n, 2, 0],
  ["unknown without a total", 4n, 0n, 2, undefined],
  ["unknown in a stall", 4n, 10n, 0, undefined],
  ["unknown before the first interval", 4n, 10n, undefined, undefined],
  ["unknown where it would be longer than a year", 4n, 2n ** 63n, 1, undefined],
] as const)("the time left is %s", (...[, current, total, perSecond, ms]) => {
  expect(timeLeftMs({ current, total }, perSecond)).toBe(ms);
});
