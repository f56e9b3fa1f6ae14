import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { CommandOutput } from "../../src/runner/command-output.ts";
import type { CommandTask } from "../../src/runner/command-task.ts";
import { createFakeClock } from "../support/fake-clock.ts";

/** A task whose writes are on disk, or refused, when the test says so. */
function createTask() {
  const entries: string[] = [];
  const progress: bigint[] = [];
  const waiting: Array<{ resolve: () => void; reject: (error: Error) => void }> = [];
  const wait = (): Promise<void> => new Promise((resolve, reject) => waiting.push({ resolve, reject }));
  const task: CommandTask = {
    taskId: "a",
    loadJsonMetadata: async () => "",
    getProgress: async () => undefined,
    async setProgress({ current }) {
      progress.push(current);
      await wait();
    },
    async addLogEntry(_level, msg) {
      entries.push(msg);
      await wait();
    },
  };
  const settle = async (error?: Error): Promise<void> => {
    for (const { resolve, reject } of waiting.splice(0)) {
      if (error === undefined) resolve();
      else reject(error);
    }
    await nextTurn();
  };
  return { task, entries, progress, settle };
}

describe("what a command says", () => {
  test("is taken up to a bound, and no more until some of it is on disk", async () => {
    const { task, entries, settle } = createTask();
    const output = new CommandOutput(task, createFakeClock());
    const line = "x".repeat(16_000);
    let taken = 0;
    let room: Promise<void> | undefined;
    while (room === undefined && taken < 1_000) {
      room = output.take(line, 0);
      taken += 1;
    }
    expect(taken).toBe(33);
    let hasRoom = false;
    void room?.then(() => (hasRoom = true));
    await nextTurn();
    expect(hasRoom).toBe(false);
    await settle();
    expect(hasRoom).toBe(true);
    expect(entries).toHaveLength(33);
  });

  test("is bounded too where its lines are empty", () => {
    const { task } = createTask();
    const output = new CommandOutput(task, createFakeClock());
    let taken = 0;
    while (output.take("", 0) === undefined) taken += 1;
    expect(taken).toBeLessThan(5_000);
  });

  test("is dropped once it is refused", async () => {
    const { task, entries, progress, settle } = createTask();
    const output = new CommandOutput(task, createFakeClock());
    void output.take("one", 0);
    await settle(new Error("the run is over"));
    const takes = Array.from({ length: 10_000 }, () => output.take("more", 0));
    expect(takes.filter((room) => room !== undefined)).toEqual([]);
    void output.take("::progress 1/2", 0);
    await output.flush();
    expect(entries).toEqual(["one"]);
    expect(progress).toEqual([]);
  });
});

describe("progress", () => {
  test("is written at once, then ten times a second at most, the newest, and the last at the end", async () => {
    const { task, progress, settle } = createTask();
    const clock = createFakeClock();
    const output = new CommandOutput(task, clock);
    const say = (current: number): void => void output.take(`::progress ${current}/100`, 0);
    say(1);
    expect(progress).toEqual([1n]);
    say(2);
    await settle();
    expect(progress).toEqual([1n]);
    await clock.advance(99);
    say(3);
    expect(progress).toEqual([1n]);
    await clock.advance(1);
    expect(progress).toEqual([1n, 3n]);
    say(4);
    say(5);
    await clock.advance(1_000);
    expect(progress, "one write at a time").toEqual([1n, 3n]);
    await settle();
    expect(progress).toEqual([1n, 3n, 5n]);
    say(6);
    const flushed = output.flush();
    await settle();
    expect(progress).toEqual([1n, 3n, 5n, 6n]);
    await settle();
    await flushed;
    expect(clock.pending()).toBe(0);
  });

  test("is no more at the end than was said", async () => {
    const { task, progress, settle } = createTask();
    const clock = createFakeClock();
    const output = new CommandOutput(task, clock);
    void output.take("::progress 1/2", 0);
    await settle();
    await output.flush();
    expect(progress).toEqual([1n]);
  });
});
