import { expect, test, vi } from "vitest";
import { sleep, systemClock } from "../src/clock.ts";

test("the machine's clock waits longer than a timer of Node's can, and for ever", async () => {
  vi.useFakeTimers();
  try {
    const fired: string[] = [];
    const day = 24 * 3_600_000;
    systemClock.after(60 * day, () => fired.push("60 days"));
    systemClock.after(Infinity, () => fired.push("never"));
    const cancel = systemClock.after(90 * day, () => fired.push("canceled"));
    await vi.advanceTimersByTimeAsync(60 * day - 1);
    expect(fired).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(fired).toEqual(["60 days"]);
    cancel();
    await vi.advanceTimersByTimeAsync(365 * day);
    expect(fired).toEqual(["60 days"]);
  } finally {
    vi.useRealTimers();
  }
});

test("a sleep ends with its time or its signal, and leaves nothing behind", async () => {
  const leaving = new AbortController();
  const slept = sleep(systemClock, Infinity, leaving.signal);
  await sleep(systemClock, 0);
  leaving.abort();
  await slept;
  await sleep(systemClock, Infinity, AbortSignal.abort());
});
