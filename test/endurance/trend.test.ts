import { expect, test } from "vitest";
import { SeededRandom } from "../support/seeded-random.ts";
import { slopeMaxMiB, slopePerHour } from "./soak/trend.ts";

const minuteMs = 60_000;

test.each([0, 1, 10])("a slope of %d an hour is found under noise and single high values", (slope) => {
  const random = new SeededRandom(1);
  const points = Array.from({ length: 1_000 }, (_, i) => ({
    atMs: i * 0.1 * minuteMs,
    value: 100 + (slope * i * 0.1) / 60 + random.fraction() * 4 + (random.chance(0.02) ? 500 : 0),
  }));
  expect(Math.abs(slopePerHour(points) - slope)).toBeLessThan(0.5);
});

test("what a short measurement may show is more than what a long one may", () => {
  expect([0.1, 0.5, 1.5, 72].map((hours) => Math.round(slopeMaxMiB(hours)))).toEqual([58, 5, 1, 1]);
});
