/** What watch-cut.test.ts says, on the LevelDB store: over closings of the store, in a directory that lives on. */
import { expect, test } from "vitest";
import type { Controller, TaskChange } from "../../src/controller/controller.ts";
import { openController } from "../../src/controller/open-controller.ts";
import type { TaskRunner } from "../../src/controller/task-runner.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import type { Store } from "../../src/store/store.ts";
import { stateName } from "../../src/task/state.ts";

import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { readVersions, transitionsAfter, type Version } from "../support/task-history.ts";
import { Puller, seqsOf } from "../support/watching.ts";

const name = "cuts";

/** Does as many steps as it is told to; then it waits to be stopped, fails or returns. */
const runner: TaskRunner = {
  async onTaskRunning(task, { signal, runId }) {
    const { steps, then } = (await task.loadTaskMetadata()) as { steps: number; then: "wait" | "fail" | "return" };
    for (let step = Number((await task.getProgress())?.current ?? 0n) + 1; step <= steps; step += 1) {
      await Promise.all([
        task.setProgress({ current: step, total: steps }),
        task.addLogEntry("info", `${runId} ${step}`),
      ]);
    }
    if (then === "wait")
      await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    if (then === "fail") throw new Error("told to");
  },
};

interface Running {
  readonly store: Store;
  readonly controller: Controller;
}

async function start(path: string): Promise<Running> {
  // Small bounds, so that reads go past what is in memory.
  const store = await openLevelStore(path, { roundKeys: 8, cacheMaxEntries: 8, blockCacheBytes: 1 << 12 });
  const retention = { afterEndMs: 24 * 3_600_000 };
  return { store, controller: await openController({ name, store, runner, retention }) };
}

async function stop({ store, controller }: Running): Promise<void> {
  await controller.close();
  await store.close();
}

/** Reads a watch until `isEnough`, or its end; changes that say something. */
async function read(
  { controller }: Running,
  since: bigint,
  isEnough: (changes: readonly TaskChange[]) => boolean = () => false,
): Promise<TaskChange[]> {
  const puller = new Puller(
    controller.watchTask("a", { sinceRevision: since, includeLogs: true, waitForLaunch: true }),
  );
  const told = (): TaskChange[] => puller.changes.filter(({ status, logs }) => status !== undefined || logs.length > 0);
  while (!isEnough(told()) && (await puller.next()) !== undefined);
  await puller.leave();
  return told();
}

const isAt = (current: bigint) => (changes: readonly TaskChange[]) =>
  changes.at(-1)?.status?.progress?.current === current;

/** A live run that is replaced, closed and opened again, fails, and is launched again. */
async function tell(path: string, now: { running?: Running | undefined }): Promise<void> {
  let running = await start(path);
  now.running = running;
  const launch = (steps: number, then: string) => running.controller.launchTask("a", { metadata: { steps, then } });
  await launch(3, "wait");
  await read(running, 0n, isAt(3n));
  await launch(5, "wait");
  await read(running, 0n, isAt(5n));
  for (let i = 0; i < 2; i += 1) {
    now.running = undefined;
    await stop(running);
    running = await start(path);
    now.running = running;
  }
  await read(running, 0n, (changes) => stateName(changes.at(-1)?.status?.state ?? 0) === "Running");
  await launch(7, "fail");
  await turnsEnded(running, "Failed");
  await launch(4, "return");
  await turnsEnded(running, "Completed");
  now.running = undefined;
  await stop(running);
}

/** A client that leaves after every third message, and comes back; while nothing is open it tries again. */
class Follower {
  readonly changes: TaskChange[] = [];
  readonly done: Promise<void>;
  connections = 0;

  constructor(now: { readonly running?: Running | undefined }) {
    this.done = this.#run(now);
  }

  async #run(now: { readonly running?: Running | undefined }): Promise<void> {
    while (stateName(this.changes.at(-1)?.status?.state ?? 0) !== "Completed") {
      if (now.running !== undefined) await this.#connect(now.running);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async #connect(running: Running): Promise<void> {
    this.connections += 1;
    try {
      const since = this.changes.at(-1)?.revision ?? 0n;
      this.changes.push(...(await read(running, since, (changes) => changes.length >= 3)));
    } catch (error) {
      if ((error as { code?: string }).code !== "UNAVAILABLE") throw error;
    }
  }
}

async function turnsEnded({ controller }: Running, state: string): Promise<void> {
  for (let is = ""; is !== state; ) is = stateName((await controller.taskStatus("a")).state);
}

function transitionsOf(changes: readonly TaskChange[], versions: readonly Version[]): string[] {
  const made = new Set(versions.filter(({ record }) => record.isTransition).map(({ revision }) => revision));
  const seen = changes.filter(({ status, revision }) => status !== undefined && made.has(revision));
  return seen.map(({ revision, status }) => `${revision} ${stateName(status?.state ?? 0)}`);
}

test("a watch that is cut off after any message goes on where it was, over closings of the store", {
  timeout: 60_000,
}, async () => {
  await using scratch = await makeScratchDirectory();
  const now: { running?: Running | undefined } = {};
  const follower = new Follower(now);
  await tell(scratch.path, now);
  const last = await start(scratch.path);
  now.running = last;
  await follower.done;
  const all = await readVersions(last.store, name, "a");
  const versions = all.flatMap(({ version }) => version ?? []);
  const first = await read(last, 1n);
  expect(first.length).toBeGreaterThan(7);
  for (let at = 1; at < first.length; at += 1) {
    const before = await read(last, 1n, (changes) => changes.length >= at);
    const resumed = [...before, ...(await read(last, before.at(-1)?.revision ?? 0n))];
    expect(transitionsOf(resumed, versions), `cut after ${at}`).toEqual(transitionsAfter(all, 1n));
    expect(seqsOf(resumed), `cut after ${at}`).toEqual(seqsOf(first));
  }
  const { changes, connections } = follower;
  const begun = changes[0]?.revision ?? 0n;
  const expected = versions.filter(({ record, revision }) => record.isTransition && revision >= begun);
  const lines = expected.map(({ revision, status }) => `${revision} ${stateName(status.state)}`);
  expect(transitionsOf(changes, versions)).toEqual(lines);
  expect(seqsOf(changes)).toEqual(seqsOf(changes).map((_, i) => (seqsOf(changes)[0] ?? 0) + i));
  expect(connections).toBeGreaterThan(4);
  await stop(last);
});
