/**
 * What faults.test.ts says, one layer down: of a controller on LevelDB the n-th call of LevelDB itself fails (open, close, get, the next entries of an
 * iterator, batch), before it was done or after, with an error of the disk or for want of room, or hangs for a while. Nothing that was acknowledged is lost,
 * and the controller goes on by itself; only where the store cannot even be opened somebody starts it again.
 *
 * LEVEL_FAULTS: how many calls fail, each in a life of its own (default 24; "all" for every n in every way). LEVEL_FAULTS_SEED: which; printed.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import type { Controller } from "../../src/controller/controller.ts";
import { ControllerError } from "../../src/controller/error.ts";
import { Faults } from "../../src/faults.ts";
import { openController } from "../../src/controller/open-controller.ts";
import type { TaskRunner } from "../../src/controller/task-runner.ts";
import { type CreateLevelDatabase, createLevelDatabase, type LevelDatabase } from "../../src/store/level-database.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { type Store, StoreError } from "../../src/store/store.ts";
import { isEnded, stateName } from "../../src/task/state.ts";
import { checkConsistency } from "../support/check-consistency.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { makeScratch } from "../store/level-fixture.ts";

const name = "faults";
const dose = process.env["LEVEL_FAULTS"] ?? "24";
const seed = Number(process.env["LEVEL_FAULTS_SEED"] ?? Math.floor(Math.random() * 2 ** 32));
const hangMs = 150;
/** For how long a client tries again. */
const againMaxMs = 20_000;

const operations = ["open", "close", "get", "next", "batch"] as const;
type Operation = (typeof operations)[number];
const ways = ["error before", "error after", "no room", "hang"] as const;
type Way = (typeof ways)[number];

/** Counts the calls of LevelDB, and lets one of them fail. */
class FailingLevel {
  readonly counts: Record<Operation, number> = { open: 0, close: 0, get: 0, next: 0, batch: 0 };
  hasFailed = false;
  readonly #fault: { readonly of: Operation; readonly nth: number; readonly way: Way } | undefined;

  constructor(fault?: { of: Operation; nth: number; way: Way }) {
    this.#fault = fault;
  }

  readonly create: CreateLevelDatabase = (location, options) => {
    // Made when it is opened: a handle of `level` opens by itself otherwise.
    let database: LevelDatabase | undefined;
    // As LevelDB does, a handle that failed to write refuses every write after that.
    let isPoisoned = false;
    const opened = (): LevelDatabase => {
      if (database === undefined) throw new Error("the handle is not open");
      return database;
    };
    return {
      open: async (given) => {
        const opening = this.#call("open", async () => {
          database = createLevelDatabase(location, options);
          await database.open(given);
        });
        // An opening that fails leaves nothing open.
        await opening.catch(async (error: unknown) => {
          await database?.close();
          throw error;
        });
      },
      close: () => this.#call("close", async () => database?.close()),
      get: (key) => this.#call("get", () => opened().get(key)),
      hasMany: (keys) => this.#call("get", () => opened().hasMany(keys)),
      batch: async (changes, given) => {
        if (isPoisoned) throw new Error("IO error: the handle has failed before");
        try {
          await this.#call("batch", () => opened().batch(changes, given));
        } catch (error) {
          isPoisoned = true;
          throw error;
        }
      },
      iterator: (range) => {
        const iterator = opened().iterator(range);
        return {
          nextv: (size) => this.#call("next", () => iterator.nextv(size)),
          close: () => iterator.close(),
        };
      },
    };
  };

  async #call<T>(operation: Operation, run: () => Promise<T>): Promise<T> {
    this.counts[operation] += 1;
    const fault = this.#fault;
    if (fault?.of !== operation || fault.nth !== this.counts[operation]) return run();
    this.hasFailed = true;
    if (fault.way === "hang") await sleep(hangMs);
    if (fault.way === "hang" || fault.way === "error after") {
      const result = await run();
      if (fault.way === "hang") return result;
    }
    throw new Error(fault.way === "no room" ? "IO error: No space left on device" : "IO error: Input/output error");
  }
}

/** What clients were told. */
interface Told {
  readonly launched: Map<string, string>;
  readonly canceled: Set<string>;
  readonly deleted: Set<string>;
  readonly ended: Map<string, string>;
  /** Log entries that were acknowledged to a runner. */
  readonly entries: Map<string, number>;
}

/** Tries again while the answer is that the store fails. */
async function again<T>(call: () => Promise<T>): Promise<T> {
  for (const untilMs = performance.now() + againMaxMs; ; await sleep(10)) {
    try {
      return await call();
    } catch (error) {
      const isUnavailable =
        (error instanceof ControllerError || error instanceof StoreError) && error.code === "UNAVAILABLE";
      if (!isUnavailable || performance.now() > untilMs) throw error;
    }
  }
}

function runnerOf(told: Told): TaskRunner {
  return {
    async onTaskRunning(task, { signal }) {
      const { steps } = (await task.loadTaskMetadata()) as { steps: number };
      for (let step = Number((await task.getProgress())?.current ?? 0n) + 1; step <= steps; step += 1) {
        await Promise.all([task.setProgress({ current: step }), task.addLogEntry("info", `step ${step}`)]);
        told.entries.set(task.taskId, step);
      }
      signal.throwIfAborted();
      if (steps === 0) await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    },
  };
}

/** Small bounds, so that there are rounds, and reads that go past what is in memory. */
const small = {
  roundKeys: 8,
  roundDelayMs: 20,
  cacheMaxEntries: 4,
  blockCacheBytes: 1 << 12,
  writeBufferBytes: 1 << 20,
};

/** Of all lives. */
const faults = new Faults();

async function start(path: string, level: FailingLevel, told: Told): Promise<{ store: Store; controller: Controller }> {
  const store = await again(() => openLevelStore(path, { ...small, createDatabase: level.create }));
  try {
    const retention = { afterEndMs: 24 * 3_600_000 };
    return { store, controller: await openController({ name, store, runner: runnerOf(told), retention, faults }) };
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function stop({ store, controller }: { store: Store; controller: Controller }): Promise<void> {
  await controller.close();
  // One that fails leaves what a crash would.
  await store.close().catch(() => {});
}

async function untilEnded(controller: Controller, taskId: string): Promise<string> {
  const { status, done } = await again(() => controller.waitTask(taskId, { timeoutMs: againMaxMs }));
  if (!done || !isEnded(status.state)) throw new Error(`${taskId} does not end`);
  return stateName(status.state);
}

/** A life of a controller: launches, ends, a cancel, lists, logs, a deletion, and a restart in the middle. */
async function live(path: string, level: FailingLevel): Promise<Told> {
  const told: Told = {
    launched: new Map(),
    canceled: new Set(),
    deleted: new Set(),
    ended: new Map(),
    entries: new Map(),
  };
  let now = await start(path, level, told);
  const launch = async (taskId: string, steps: number): Promise<void> => {
    const options = { metadata: { steps, filler: "m".repeat(1_500) }, requestId: `launch ${taskId}` };
    told.launched.set(taskId, (await again(() => now.controller.launchTask(taskId, options))).runId);
  };
  try {
    await launch("a", 3);
    await launch("gone", 0);
    await again(() => now.controller.cancelTask("gone"));
    await untilEnded(now.controller, "gone");
    await launch("held", 0);
    told.ended.set("a", await untilEnded(now.controller, "a"));
    await again(() => now.controller.cancelTask("held"));
    told.canceled.add("held");
    await launch("b", 2);
    told.ended.set("b", await untilEnded(now.controller, "b"));
    await stop(now);
    now = await start(path, level, told);
    await again(() => now.controller.queryTasks({ pageSize: 10 }));
    await again(() => now.controller.taskLogs("b"));
    await again(() => now.controller.deleteTask("gone").catch(ignoreAbsent));
    told.deleted.add("gone");
    await launch("c", 2);
    told.ended.set("c", await untilEnded(now.controller, "c"));
  } finally {
    await stop(now);
  }
  return told;
}

/** It was deleted by a call that was told to have failed. */
function ignoreAbsent(error: unknown): void {
  if (!(error instanceof ControllerError) || error.code !== "NOT_FOUND") throw error;
}

/** Looks at what is left, with a disk that works. */
async function complaintsAbout(path: string, told: Told): Promise<string[]> {
  const now = await start(path, new FailingLevel(), told);
  const complaints: string[] = [];
  try {
    for (const [taskId, runId] of told.launched) {
      const found = await now.controller.taskStatus(taskId).catch(ignoreAbsent);
      if (told.deleted.has(taskId)) {
        if (found !== undefined) complaints.push(`${taskId} was deleted, and is there`);
        continue;
      }
      if (found?.runId !== runId) complaints.push(`${taskId} was launched as ${runId}, and is ${found?.runId}`);
      if (found === undefined) continue;
      const state = told.canceled.has(taskId) ? "Canceled" : told.ended.get(taskId);
      if (stateName(found.state) !== state) complaints.push(`${taskId} was ${state}, and is ${stateName(found.state)}`);
      const { entries } = await now.controller.taskLogs(taskId);
      if (entries.length < (told.entries.get(taskId) ?? 0)) complaints.push(`log entries of ${taskId} are lost`);
    }
    await checkConsistency(now.store, name);
  } finally {
    await stop(now);
  }
  return complaints;
}

/** Each call of a life without faults, in each of the ways. */
async function allFaults(): Promise<Array<{ of: Operation; nth: number; way: Way }>> {
  await using scratch = await makeScratch();
  const level = new FailingLevel();
  expect(await complaintsAbout(scratch.path, await live(scratch.path, level))).toEqual([]);
  return operations.flatMap((of) =>
    // Who cannot close a handle keeps the directory until the process ends, as two must not write it: a close can only take long.
    (of === "close" ? (["hang"] as const) : ways).flatMap((way) =>
      Array.from({ length: level.counts[of] }, (_, i) => ({ of, nth: i + 1, way })),
    ),
  );
}

let line = "it did not come to its end";
afterAll(() => {
  process.stderr.write(`faults of LevelDB: LEVEL_FAULTS=${dose}, LEVEL_FAULTS_SEED=${seed}: ${line}\n`);
});

test("any call of LevelDB fails, and nothing that was acknowledged is lost", { timeout: 3_600_000 }, async () => {
  const begunMs = performance.now();
  const all = await allFaults();
  const random = new SeededRandom(seed);
  // Of each kind in turn, so that a few show all.
  const kinds = operations
    .flatMap((of) => ways.map((way) => all.filter((each) => each.of === of && each.way === way)))
    .filter(({ length }) => length > 0);
  const some = Array.from({ length: Number(dose) || 0 }, (_, i) =>
    random.pick(kinds[i % kinds.length] as Array<(typeof all)[number]>),
  );
  const failures: string[] = [];
  const injected = new Map<Operation, number>(operations.map((of) => [of, 0]));
  for (const fault of dose === "all" ? all : some) {
    await using scratch = await makeScratch();
    const level = new FailingLevel(fault);
    try {
      failures.push(
        ...(await complaintsAbout(scratch.path, await live(scratch.path, level))).map(
          (complaint) => `${fault.of} ${fault.nth}, ${fault.way}: ${complaint}`,
        ),
      );
    } catch (error) {
      failures.push(`${fault.of} ${fault.nth}, ${fault.way}: ${String(error)}`);
    }
    // How many calls there are differs a little from life to life.
    if (level.hasFailed) injected.set(fault.of, (injected.get(fault.of) ?? 0) + 1);
  }
  const counts = [...injected].map(([of, count]) => `${of} ${count}`).join(", ");
  line = `failed ${counts}; ${failures.length} failures; ${Math.round((performance.now() - begunMs) / 1_000)} s`;
  expect(failures.slice(0, 20), line).toEqual([]);
  const called = new Set(all.map(({ of }) => of));
  expect(called.size).toBeGreaterThanOrEqual(4);
  expect(faults.counts().storage_errors).toBeGreaterThan(0);
  expect(faults.counts().store_reopens).toBeGreaterThan(0);
  for (const of of called) expect(injected.get(of), of).toBeGreaterThan(0);
});
