/** `stint work` as a process of its own. Needs dist/ (npm run build). */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { RunPhase } from "#gen/stint/v1/runner_pb.js";
import { isRunning } from "../support/command-harness.ts";
import { eventually } from "../support/eventually.ts";
import { type FakeRunnerServer, type FakeRunnerStream, openFakeRunnerServer } from "../support/fake-runner-server.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { repositoryRoot } from "../support/served-process.ts";

const { PENDING, RUNNING } = RunPhase;
const maxMs = 30_000;

function startWork(server: string, ...args: readonly string[]): ChildProcess {
  const main = join(repositoryRoot, "dist/cli/main.js");
  // Started by npm or npx it would take two signals in a row for one.
  const env = { ...process.env, STINT_SERVER: server, npm_lifecycle_event: "" };
  return spawn(process.execPath, [main, "work", "--controller", "steps", ...args], { env, stdio: "inherit" });
}

async function pidIn(file: string): Promise<number> {
  let pid = 0;
  await eventually(async () => {
    pid = Number(await readFile(file, "utf8"));
    if (pid === 0) throw new Error("the command has not written its pid");
  }, maxMs);
  return pid;
}

/** Its command writes its pid into the file, and goes on. */
const sleeping = (file: string): string[] => ["--", "sh", "-c", 'echo $$ > "$0"; sleep 600', file];

/** Has the command of the first task that it is offered run. */
async function startTask(server: FakeRunnerServer, file: string): Promise<{ stream: FakeRunnerStream; pid: number }> {
  const stream = await server.stream(0, maxMs);
  stream.offer(5n, PENDING);
  await stream.ended(5n, PENDING, maxMs);
  stream.offer(5n, RUNNING);
  return { stream, pid: await pidIn(file) };
}

test("SIGTERM lets the command finish; a second one ends all of it at once", { timeout: 120_000 }, async () => {
  await using server = await openFakeRunnerServer();
  await using scratch = await makeScratchDirectory();
  const file = join(scratch.path, "pid");
  const child = startWork(server.address, "--drain", "10m", ...sleeping(file));
  const exited = once(child, "exit");
  try {
    const { stream, pid } = await startTask(server, file);
    child.kill("SIGTERM");
    await eventually(() => expect(stream.of("drain")).toHaveLength(1), maxMs);
    expect(await isRunning(pid)).toBe(true);
    child.kill("SIGTERM");
    expect(await exited).toEqual([143, null]);
    await eventually(async () => expect(await isRunning(pid)).toBe(false), maxMs);
  } finally {
    child.kill("SIGKILL");
  }
});

test("SIGTERM ends it also while its server is gone, and the command with it", { timeout: 120_000 }, async () => {
  await using server = await openFakeRunnerServer();
  await using scratch = await makeScratchDirectory();
  const file = join(scratch.path, "pid");
  const child = startWork(server.address, "--drain", "100ms", ...sleeping(file));
  const exited = once(child, "exit");
  try {
    const { pid } = await startTask(server, file);
    server.kill();
    child.kill("SIGTERM");
    expect(await exited).toEqual([0, null]);
    expect(await isRunning(pid)).toBe(false);
  } finally {
    child.kill("SIGKILL");
  }
});

test("what a killed one has left is ended when it is started again with its --data-dir", {
  timeout: 120_000,
}, async () => {
  await using server = await openFakeRunnerServer();
  await using scratch = await makeScratchDirectory();
  const file = join(scratch.path, "pid");
  const args = ["--data-dir", join(scratch.path, "data"), ...sleeping(file)];
  const first = startWork(server.address, ...args);
  let second: ChildProcess | undefined;
  try {
    const { pid } = await startTask(server, file);
    first.kill("SIGKILL");
    await once(first, "exit");
    expect(await isRunning(pid)).toBe(true);
    second = startWork(server.address, ...args);
    await server.stream(1, maxMs);
    expect(await isRunning(pid)).toBe(false);
    second.kill("SIGTERM");
    expect(await once(second, "exit")).toEqual([0, null]);
  } finally {
    first.kill("SIGKILL");
    second?.kill("SIGKILL");
  }
});
