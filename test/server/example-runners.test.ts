import { createHash } from "node:crypto";
import { appendFile, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type Progress, ProgressSchema } from "#gen/core/v1/core_pb.js";
import { runner as checksum } from "../../examples/runners/checksum.ts";
import { runner as countdown } from "../../examples/runners/countdown.ts";
import type {
  ActiveTask,
  JsonObject,
  ProgressInit,
  TaskContext,
  TaskRunner,
} from "../../src/controller/task-runner.ts";
import { AbortReason } from "../../src/task/abort.ts";

/** One execution of a runner, without a controller. */
function createRun(options: {
  metadata?: JsonObject;
  kept?: ProgressInit;
  runId?: string;
  onProgress?: (p: ProgressInit) => void;
}) {
  const progress: ProgressInit[] = [];
  const logs: string[] = [];
  const closing = new AbortController();
  const kept: Progress | undefined = options.kept && create(ProgressSchema, { current: BigInt(options.kept.current) });
  const task = {
    taskId: "a",
    loadTaskMetadata: async () => options.metadata,
    getProgress: async () => kept,
    async setProgress(set: ProgressInit) {
      progress.push(set);
      options.onProgress?.(set);
    },
    async addLogEntry(_level: unknown, message: string) {
      logs.push(message);
    },
  } as ActiveTask;
  const context: TaskContext = { signal: closing.signal, attempt: 1, runId: options.runId ?? "run", fence: 1n };
  return {
    progress,
    logs,
    stop: () => closing.abort(new AbortReason("SHUTDOWN")),
    signal: closing.signal,
    end: async (runner: TaskRunner) => runner.onTaskCompleted?.(task, 3, context),
    async run(runner: TaskRunner) {
      await runner.onTaskPending?.(task, context);
      return await runner.onTaskRunning(task, context);
    },
  };
}

describe("countdown", () => {
  test("counts to its limit, a progress and a log entry a step", async () => {
    const run = createRun({ metadata: { limit: 3, intervalMs: 0 } });
    expect(await run.run(countdown)).toEqual({ counted: 3 });
    expect(run.progress.map(({ current, total }) => [current, total])).toEqual([
      [1, 3],
      [2, 3],
      [3, 3],
    ]);
    expect(run.logs).toEqual(["step 1 of 3", "step 2 of 3", "step 3 of 3"]);
  });

  test("goes on from the kept progress", async () => {
    const run = createRun({ metadata: { limit: 5, intervalMs: 0 }, kept: { current: 3 } });
    expect(await run.run(countdown)).toEqual({ counted: 5 });
    expect(run.logs).toEqual(["step 4 of 5", "step 5 of 5"]);
  });

  test("fails at the step it is told to", async () => {
    const run = createRun({ metadata: { limit: 5, intervalMs: 0, failAt: 3 } });
    await expect(run.run(countdown)).rejects.toThrow("failed at step 3, as failAt asks");
    expect(run.progress.at(-1)?.current).toBe(2);
  });

  test("stops at once when it is told to, for the reason it was given", async () => {
    const run = createRun({ metadata: { limit: 5, intervalMs: 3_600_000 } });
    const running = run.run(countdown);
    setImmediate(run.stop);
    const thrown: unknown = await Promise.resolve(running).catch((error: unknown) => error);
    expect(thrown).toMatchObject({ name: "AbortError", cause: run.signal.reason as unknown });
    expect(run.signal.reason).toBeInstanceOf(AbortReason);
  });

  test.each([
    [{ limit: "ten" }, "limit must be a whole number from 0 to 1000000000"],
    [{ limt: 3 }, 'there is no "limt", only limit, intervalMs, failAt'],
    [{ limit: 1.5, intervalMs: -1, failAt: null }, /limit must be .*; intervalMs must be /],
  ])("refuses the metadata %j", async (metadata, message) => {
    await expect(createRun({ metadata }).run(countdown)).rejects.toThrow(message);
  });
});

let root = "";
const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const digestOf = (...texts: string[]): string => sha256(texts.map(sha256).sort().join("\n"));

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "stint-checksum-test-"));
  vi.stubEnv("STINT_CHECKSUM_STATE", join(root, "state"));
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(root, { recursive: true });
});

async function createTree(name: string): Promise<string> {
  const path = join(root, name);
  await mkdir(join(path, "b"), { recursive: true });
  await writeFile(join(path, "a"), "one");
  await writeFile(join(path, "b", "c"), "two");
  await writeFile(join(path, "d"), "");
  await symlink("/etc", join(path, "link"));
  return path;
}

describe("checksum", () => {
  test("hashes the regular files under a path, and no links", async () => {
    const path = await createTree("plain");
    const run = createRun({ metadata: { path } });
    expect(await run.run(checksum)).toEqual({ files: 3, bytes: 6, digest: digestOf("one", "two", "") });
    expect(run.progress.at(-1)).toMatchObject({ current: 6, total: 6, unit: "bytes" });
    expect(run.logs.map((line) => line.split("  ")[1])).toEqual(["a (3 bytes)", "b/c (3 bytes)", "d (0 bytes)"]);
  });

  test("hashes a single file, with another algorithm", async () => {
    const path = join(await createTree("single"), "a");
    const result = await createRun({ metadata: { path, algorithm: "md5" } }).run(checksum);
    const md5 = (text: string): string => createHash("md5").update(text).digest("hex");
    expect(result).toEqual({ files: 1, bytes: 3, digest: md5(md5("one")) });
  });

  test("resumes after the last whole file, and hashes those before it no more", async () => {
    const path = await createTree("resumed");
    await writeFile(join(path, "e"), Buffer.alloc(40 * 1024 * 1024));
    // It is stopped in the midst of the large file, and what was whole by then was settled or is hashed again.
    const first = createRun({
      metadata: { path },
      runId: "r",
      onProgress: ({ current }) => Number(current) > 6 && first.stop(),
    });
    await expect(first.run(checksum)).rejects.toMatchObject({ name: "AbortError" });
    const second = createRun({ metadata: { path }, runId: "r", kept: { current: 7 } });
    const whole = await createRun({ metadata: { path }, runId: "other" }).run(checksum);
    expect(await second.run(checksum)).toEqual(whole);
    const third = createRun({ metadata: { path }, runId: "r", kept: { current: 7 } });
    expect(await third.run(checksum)).toEqual(whole);
    expect(third.logs).toEqual(["resumes after 4 files of 4"]);
  });

  test("hashes again what has changed since, and everything once the checkpoint is gone", async () => {
    const path = await createTree("changed");
    await createRun({ metadata: { path }, runId: "c" }).run(checksum);
    await appendFile(join(path, "b", "c"), "!");
    const changed = createRun({ metadata: { path }, runId: "c", kept: { current: 6 } });
    expect(await changed.run(checksum)).toEqual({ files: 3, bytes: 7, digest: digestOf("one", "two!", "") });
    expect(changed.logs[0]).toBe("resumes after 1 files of 3");
    await changed.end(checksum);
    const gone = createRun({ metadata: { path }, runId: "c", kept: { current: 7 } });
    expect(await gone.run(checksum)).toMatchObject({ bytes: 7 });
    expect(gone.logs[0]).toBe("resumes from the start of 3");
  });

  test.each([
    [{}, 'the metadata must have a "path"'],
    [{ path: 1 }, 'the metadata must have a "path"'],
    [{ path: "/nowhere/at/all" }, "/nowhere/at/all cannot be read: there is no such file"],
    [{ path: "/", algoritm: "md5" }, 'the metadata can have "path" and "algorithm", and no "algoritm"'],
    [{ path: "/", algorithm: "sha0" }, /"algorithm" must be a hash that Node knows/],
  ])("refuses the metadata %j", async (metadata, message) => {
    await expect(createRun({ metadata }).run(checksum)).rejects.toThrow(message);
  });
});
