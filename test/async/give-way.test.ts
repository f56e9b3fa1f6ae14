import { expect, test } from "vitest";
import { createGiveWay } from "../../src/async/give-way.ts";
import { createFakeClock } from "../support/fake-clock.ts";

test("gives way when its time is over, and then has as much again", async () => {
  const clock = createFakeClock();
  const giveWay = createGiveWay(clock, 10);
  expect(giveWay()).toBeUndefined();
  await clock.advance(9);
  expect(giveWay()).toBeUndefined();
  await clock.advance(1);
  let isBack = false;
  const way = giveWay()?.then(() => (isBack = true));
  await Promise.resolve();
  expect([isBack, clock.pending()]).toEqual([false, 1]);
  await clock.advance(0);
  await way;
  await clock.advance(9);
  expect(giveWay()).toBeUndefined();
});
