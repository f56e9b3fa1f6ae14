import { expect, test } from "vitest";
import { Arrival } from "../../src/controller/arrival.ts";
import { createFakeClock } from "../support/fake-clock.ts";

test("a wait is over after its time, and at once when what was waited for is there", async () => {
  const clock = createFakeClock();
  let resolve = (): void => {};
  const arrival = new Arrival(new Promise<void>((done) => (resolve = done)));
  for (let i = 0; i < 3; i += 1) {
    const waiting = arrival.within(clock, 10);
    await clock.advance(10);
    expect(await waiting).toBe(false);
  }
  const waiting = arrival.within(clock, 10);
  resolve();
  expect(await waiting).toBe(true);
  expect(await arrival.within(clock, 10)).toBe(true);
  expect(clock.pending()).toBe(0);
});

test("what is rejected is there too", async () => {
  const arrival = new Arrival(Promise.reject(new Error("told to")));
  expect(await arrival.within(createFakeClock(), 10)).toBe(true);
});
