import { expect, test } from "vitest";
import { sleep } from "../../src/clock.ts";
import { createFakeClock } from "./fake-clock.ts";

test("timers fire in order of their time, and at it", async () => {
  const clock = createFakeClock({ wallMs: 5_000 });
  const fired: string[] = [];
  clock.after(30, () => fired.push(`c at ${clock.mono()}`));
  clock.after(10, () => fired.push(`a at ${clock.mono()}`));
  clock.after(10, () => fired.push(`b at ${clock.wall()}`));
  clock.after(31, () => fired.push("too late"));
  await clock.advance(30);
  expect(fired).toEqual(["a at 10", "b at 5010", "c at 30"]);
  expect(clock.pending()).toBe(1);
});

test("what a timer sets off is done before the next one fires", async () => {
  const clock = createFakeClock();
  const steps: string[] = [];
  const run = async () => {
    for (let i = 0; i < 3; i += 1) {
      await sleep(clock, 10);
      steps.push(`slept until ${clock.mono()}`);
    }
  };
  const running = run();
  clock.after(15, () => steps.push("fired at 15"));
  await clock.advance(100);
  await running;
  expect(steps).toEqual(["slept until 10", "fired at 15", "slept until 20", "slept until 30"]);
  expect(clock.mono()).toBe(100);
});

test("a canceled timer does not fire, and a jump of the wall clock fires nothing", async () => {
  const clock = createFakeClock({ wallMs: 0 });
  const cancel = clock.after(10, () => expect.unreachable());
  clock.jumpWall(-1_000_000);
  expect(clock.wall()).toBe(-1_000_000);
  expect(clock.mono()).toBe(0);
  cancel();
  await clock.advance(50);
  expect(clock.pending()).toBe(0);
});
