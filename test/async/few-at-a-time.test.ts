import { expect, test } from "vitest";
import { createFewAtATime } from "../../src/async/few-at-a-time.ts";
import { createFakeClock } from "../support/fake-clock.ts";

test("so many go on in one turn, the others in those after it, in order, and then there is no timer", async () => {
  const clock = createFakeClock();
  const turn = createFewAtATime(clock, 3);
  const begun: number[] = [];
  for (let i = 0; i < 8; i += 1) void turn().then(() => begun.push(i));
  await Promise.resolve();
  expect(begun).toEqual([0, 1, 2]);
  // Those who come later are behind those who wait.
  void turn().then(() => begun.push(8));
  await clock.advance(0);
  expect(begun).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  expect(clock.pending()).toBe(0);
  await turn();
  expect(clock.pending()).toBe(1);
});
