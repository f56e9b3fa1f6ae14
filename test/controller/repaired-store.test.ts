/**
 * Tasks in a store of which files are lost or damaged, after a repair: each is what it was, or DATA_LOSS; none of which anything is left is NOT_FOUND, none is
 * as it was before, and none that had ended is run again. REPAIRS: in how many ways a store is damaged (default 15).
 */
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import { openController } from "../../src/controller/open-controller.ts";
import type { TaskRunner } from "../../src/controller/task-runner.ts";
import { parseMention, parseTaskKey, taskKey, tasksPrefix } from "../../src/store/keys.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { repairStore, verifyStore } from "../../src/store/maintenance.ts";
import type { RepairReport } from "../../src/store/store-report.ts";
import { systemClock } from "../../src/clock.ts";
import { isEnded } from "../../src/task/state.ts";
import { newestIn } from "../store/file-contents.ts";
import { crashCopy, makeScratch, type Scratch } from "../store/level-fixture.ts";
import { checkConsistency } from "../support/check-consistency.ts";

const dose = Number(process.env["REPAIRS"] ?? 15);
const name = "tests";
const taskCount = 60;
const retention = { afterEndMs: 24 * 3_600_000 };
type Then = "return" | "fail" | "wait";

const runner: TaskRunner = {
  async onTaskRunning(task, { signal, runId }) {
    const { then } = (await task.loadTaskMetadata()) as { then: Then };
    for (let step = 1; step <= 4; step += 1) {
      await Promise.all([task.setProgress({ current: step, total: 4 }), task.addLogEntry("info", `${runId} ${step}`)]);
    }
    if (then === "wait") {
      await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    }
    if (then === "fail") throw new Error("told to");
    return { text: "r".repeat(1_500) };
  },
};

interface Made {
  readonly crashed: Scratch;
  readonly closed: Scratch;
  readonly statuses: ReadonlyMap<string, { status: TaskStatus; revision: number }>;
  readonly deleted: readonly string[];
}

/** Tasks in all states, some launched again, some deleted; the files as a crash leaves them, and as they are closed. */
async function makeTasks(): Promise<Made> {
  const closed = await makeScratch();
  const store = await openLevelStore(closed.path, { writeBufferBytes: 1 << 16, roundKeys: 50, roundDelayMs: 20 });
  const controller = await openController({ name, store, runner, retention, concurrency: 30 });
  const launch = (id: string, then: Then) =>
    controller.launchTask(id, { metadata: { then, text: "m".repeat(id.length * 300) }, labels: { kind: then } });
  const settle = async (id: string, isThere: (status: TaskStatus) => boolean): Promise<void> => {
    for await (const { status } of controller.watchTask(id)) if (status !== undefined && isThere(status)) return;
  };
  const idOf = (i: number): string => `task-${i}`;
  const deleted: string[] = [];
  for (let i = 0; i < taskCount; i += 1) {
    const then = (["return", "fail", "wait"] as const)[i % 3]!;
    await launch(idOf(i), then);
    if (then === "wait" && i % 2 === 0) {
      await settle(idOf(i), ({ progress }) => progress?.current === 4n);
      await controller.cancelTask(idOf(i), { waitMs: 5_000 });
    }
    if (then !== "wait") await settle(idOf(i), ({ state }) => isEnded(state));
    if (i % 10 === 0) await launch(idOf(i), "return").then(() => settle(idOf(i), ({ state }) => isEnded(state)));
    if (i % 15 === 4) {
      await controller.deleteTask(idOf(i));
      deleted.push(idOf(i));
    }
  }
  // Those that find no place wait.
  for (let i = 0; i < 25; i += 1) await launch(`late-${i}`, "wait");
  await settle("late-0", ({ progress }) => progress?.current === 4n);
  const statuses = new Map<string, { status: TaskStatus; revision: number }>();
  for (const id of await controller.listTasks()) {
    const { status } = await controller.readTask(id).catch(() => ({ status: undefined }));
    const { revision } = (await store.get(taskKey(name, id)))!;
    statuses.set(id, { status: status ?? (await controller.taskStatus(id)), revision: Number(revision) });
  }
  const crashed = await crashCopy(closed.path);
  await controller.close();
  await store.close();
  return { crashed, closed, statuses, deleted };
}

/** What is done to a file; `fraction` says where. */
const damages: Record<string, (content: Buffer, fraction: number) => Buffer | undefined> = {
  "is missing": () => undefined,
  "is cut short": (content, fraction) => content.subarray(0, Math.floor(content.length * fraction)),
  "has zeros in it": (content, fraction) => overwrite(content, fraction, Buffer.alloc(5_000)),
  "has a text in it": (content, fraction) => overwrite(content, fraction, Buffer.alloc(700, "no task ")),
  "has a bit changed": (content, fraction) => {
    const changed = Buffer.from(content);
    changed[Math.floor(content.length * fraction)]! ^= 4;
    return changed;
  },
};

function overwrite(content: Buffer, fraction: number, bytes: Buffer): Buffer {
  const changed = Buffer.from(content);
  bytes.copy(changed, Math.floor(content.length * fraction));
  return changed;
}

/** Damages one file of the store, or two; returns which. */
async function damageFiles(path: string, round: number): Promise<Map<string, string>> {
  const names = (await readdir(join(path, "db")))
    .filter((file) => /^(CURRENT|MANIFEST.*|.*\.(ldb|log))$/.test(file))
    .sort();
  const kinds = Object.keys(damages);
  const done = new Map<string, string>();
  for (let i = 0; i <= (round % 3 === 2 ? 1 : 0); i += 1) {
    const file = names[(round * (i + 1) * 5 + i) % names.length]!;
    if (done.has(file)) continue;
    const kind = kinds[Math.floor(round / names.length + i) % kinds.length]!;
    const content = await readFile(join(path, "db", file));
    const changed = damages[kind]!(content, (round * 0.618_034 + i * 0.3) % 1);
    if (changed === undefined) await rm(join(path, "db", file), { force: true });
    else await writeFile(join(path, "db", file), changed);
    done.set(file, kind);
  }
  return done;
}

interface Seen {
  /** All that was about them was in what is lost. */
  forgotten: number;
  older: number;
  undeleted: number;
  incomplete: number;
  lost: number;
  kept: number;
  rebuilt: number;
  copied: number;
}

/** The newest revision of each task that anything tells of which is written with its record. */
function revisionsTold(newest: ReadonlyMap<string, number>): Map<string, number> {
  const told = new Map<string, number>();
  for (const [key, revision] of newest) {
    const mention = parseMention(key);
    if (mention === undefined) continue;
    const isWritten = ["task", "newest", "state", "label", "ended"].includes(mention.kind);
    told.set(mention.taskId, Math.max(told.get(mention.taskId) ?? 0, isWritten ? revision : 0));
  }
  return told;
}

function codeOf(error: { readonly code: string }): string {
  return error.code;
}

/** Opens the repaired store as a server does, and looks at each task. */
async function expectTasks(
  path: string,
  report: RepairReport,
  { made, newest, seen }: { made: Made; newest: ReadonlyMap<string, number>; seen: Seen },
): Promise<void> {
  const store = await openLevelStore(path);
  const entries = await store.scan({ prefix: tasksPrefix, limit: 1_000 });
  const before = new Map(entries.map(({ key, revision }) => [parseTaskKey(key)!.taskId, Number(revision)]));
  const told = revisionsTold(newest);
  const started: string[] = [];
  const holding: TaskRunner = {
    async onTaskRunning({ taskId }, { signal }) {
      started.push(taskId);
      signal.throwIfAborted();
      await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    },
  };
  const controller = await openController({ name, store, runner: holding, retention, concurrency: 100 });
  const lost: string[] = [];
  const incomplete: string[] = [];
  for (const [id, { status, revision }] of made.statuses) {
    const record = await controller.readTask(id, { without: ["metadata", "result"] }).catch(codeOf);
    if (typeof record === "string") {
      if (told.has(id) || record !== "NOT_FOUND") expect(record, id).toBe("DATA_LOSS");
      // What is in a file that was left alone is not lost.
      const reason = report.damagedTasks.find(({ taskId }) => taskId === id)?.reason;
      expect(newest.get(taskKey(name, id)), `${id}: ${reason}`).not.toBe(revision);
      if (record === "NOT_FOUND") seen.forgotten += 1;
      else lost.push(id);
      continue;
    }
    const now = record.status;
    const whole = await controller.taskStatus(id).catch(codeOf);
    if (typeof whole === "string") {
      expect(whole, id).toBe("DATA_LOSS");
      incomplete.push(id);
    } else if (before.get(id) === revision)
      expect([whole.metadata, whole.result], id).toEqual([status.metadata, status.result]);
    // A change that is lost with all that was written with it, and after it, leaves its task as it was; nothing tells.
    if (before.get(id)! < revision) {
      expect(told.get(id) ?? 0, `${id}, which is older`).toBeLessThanOrEqual(before.get(id)!);
      seen.older += 1;
      continue;
    }
    expect(now.progress?.current, id).toBe(status.progress?.current);
    expect(isEnded(now.state), id).toBe(isEnded(status.state));
    if (isEnded(status.state)) {
      expect([now.state, now.error?.message], id).toEqual([status.state, status.error?.message]);
    }
  }
  for (const id of made.deleted) {
    const found = await controller.taskStatus(id).then(() => "there", codeOf);
    if (found === "NOT_FOUND") continue;
    // Where something tells of the deletion, or of a later change, it is not as it was before.
    if (found === "there") expect(told.get(id) ?? 0, id).toBeLessThanOrEqual(before.get(id)!);
    seen.undeleted += 1;
  }
  for (const id of started) {
    const { status, revision } = made.statuses.get(id) ?? { status: undefined, revision: 0 };
    if (status === undefined) continue;
    // Where nothing tells of the end, the report says that the task will run.
    if (isEnded(status.state)) expect(before.get(id), id).toBeLessThan(revision);
    if (isEnded(status.state)) expect(report.unendedTasks).toContainEqual({ controller: name, taskId: id });
  }
  for (const id of lost) expect(started).not.toContain(id);
  await checkConsistency(store, name, { controller, except: report.damagedTasks.map(({ taskId }) => taskId) });
  for (const id of lost.slice(0, 3)) {
    await controller.deleteTask(id);
    expect((await controller.launchTask(id)).outcome).toBe("launched");
  }
  seen.incomplete += incomplete.length;
  seen.lost += lost.length;
  seen.kept += made.statuses.size - lost.length;
  await controller.close();
  await store.close();
}

describe("a store whose files are damaged", () => {
  let made: Made;
  beforeAll(async () => {
    made = await makeTasks();
  }, 60_000);
  afterAll(async () => {
    await made.crashed[Symbol.asyncDispose]();
    await made.closed[Symbol.asyncDispose]();
  });

  test("is sound before that, by all that is about its tasks", async () => {
    for (const { path } of [made.crashed, made.closed]) {
      const { tasks, ...found } = await verifyStore(path);
      expect(found).toMatchObject({ isSound: true, damagedTasks: [] });
      expect(tasks).toBe(made.statuses.size);
    }
  });

  test(`has after a repair each task as it was, or as DATA_LOSS (${dose} damages)`, {
    timeout: 60_000 + dose * 5_000,
  }, async () => {
    const seen: Seen = { forgotten: 0, older: 0, undeleted: 0, incomplete: 0, lost: 0, kept: 0, rebuilt: 0, copied: 0 };
    for (let round = 0; round < dose; round += 1) {
      await using copy = await crashCopy(round % 2 === 0 ? made.crashed.path : made.closed.path);
      const whole = copy.path;
      const done = await damageFiles(whole, round);
      const what = `round ${round}: ${[...done].map((each) => each.join(" ")).join(" and ")}`;
      await using scratch = await makeScratch();
      const target = join(scratch.path, "repaired");
      const report = await repairStore(whole, target, systemClock).catch((error: unknown) => {
        throw new Error(what, { cause: error });
      });
      seen[report.how] += 1;
      const newest = await newestIn(round % 2 === 0 ? made.crashed.path : made.closed.path, new Set(done.keys()));
      await expectTasks(target, report, { made, newest, seen }).catch((error: unknown) => {
        throw new Error(what, { cause: error });
      });
    }
    if (dose >= 100) expect(Math.min(seen.lost, seen.incomplete)).toBeGreaterThan(0);
    expect(seen.lost + seen.incomplete + seen.older + seen.forgotten).toBeGreaterThan(dose / 10);
    expect(seen.kept).toBeGreaterThan(seen.lost);
    expect(Math.min(seen.rebuilt, seen.copied)).toBeGreaterThan(dose / 20);
    if (process.env["REPAIRS"] !== undefined) console.info(seen);
  });
});
