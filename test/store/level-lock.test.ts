/** One holder at a time, over processes. LOCK_RACES: how many races are run (default 12 of each kind). */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { openLevelStore } from "../../src/store/level-store.ts";
import { expectFailure } from "../../src/store-conformance/harness.ts";
import { contentsOf, makeScratch } from "./level-fixture.ts";
import type { Order, Outcome } from "./level-holder.ts";

const races = Number(process.env["LOCK_RACES"] ?? 12);

/** By the lock of the directory: that of the database in it comes too late. */
function lockedBy(holder: string): unknown {
  return expect.stringMatching(new RegExp(`^LOCKED: ${holder} has the store in `));
}

class Holder {
  readonly #process: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#process = child;
  }

  static async start(): Promise<Holder> {
    const child = fork(fileURLToPath(new URL("./level-holder.ts", import.meta.url)), {
      execArgv: ["--import", "tsx"],
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    await once(child, "message");
    return new Holder(child);
  }

  async tell(order: Order): Promise<Outcome> {
    const answer = once(this.#process, "message");
    this.#process.send(order);
    return (await answer)[0] as Outcome;
  }

  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exit = once(this.#process, "exit");
    this.#process.kill("SIGKILL");
    await exit;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}

test(`of two processes that open a store at once one has it, whether they make it or find it (${races} races)`, {
  timeout: 300_000,
}, async () => {
  await using a = await Holder.start();
  await using b = await Holder.start();
  for (let race = 0; race < races; race += 1) {
    await using scratch = await makeScratch();
    for (const opening of ["made", "found"]) {
      const outcomes = await Promise.all([a.tell({ open: scratch.path }), b.tell({ open: scratch.path })]);
      expect(outcomes.sort(), `when it is ${opening}`).toEqual([lockedBy("another process"), "open"]);
      // What the one has committed is there, and nothing else is.
      await Promise.all([a.tell({ close: true }), b.tell({ close: true })]);
      const store = await openLevelStore(scratch.path);
      expect(await store.scan({ prefix: "by ", limit: 9 })).not.toEqual([]);
      expect(store.revision()).toBe(opening === "made" ? 1n : 2n);
      await store.close();
    }
  }
});

test("a second process changes nothing, and has the store as soon as the first was killed", async () => {
  await using first = await Holder.start();
  await using scratch = await makeScratch();
  expect(await first.tell({ open: scratch.path })).toBe("open");
  const before = await contentsOf(scratch.path);
  await expectFailure(openLevelStore(scratch.path), "LOCKED");
  expect(await contentsOf(scratch.path)).toEqual(before);
  await first.kill();
  const store = await openLevelStore(scratch.path);
  expect(store.revision()).toBe(1n);
  await store.close();
});

test("a second opening in the process that has it open does not let other processes in", async () => {
  await using other = await Holder.start();
  await using scratch = await makeScratch();
  const store = await openLevelStore(scratch.path);
  await expectFailure(openLevelStore(scratch.path), "LOCKED");
  expect(await other.tell({ open: scratch.path })).toEqual(lockedBy("another process"));
  await store.close();
  expect(await other.tell({ open: scratch.path })).toBe("open");
  await expectFailure(openLevelStore(scratch.path), "LOCKED");
});
