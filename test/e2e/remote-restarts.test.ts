/**
 * The server is killed with SIGKILL and started again, again and again, under remote runners that work on. REMOTE_RESTARTS: how often
 * (default 3). Needs dist/ (npm run build).
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { StateCompleted, StateRunning } from "../../src/task/state.ts";
import { eventually } from "../support/eventually.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { repositoryRoot, ServedProcess } from "../support/served-process.ts";
import type { RemoteFact } from "./runners/remote-steps.ts";

const restarts = Number(process.env["REMOTE_RESTARTS"] ?? 3);
const controller = "steps";
const tasksPerRound = 10;
const steps = 40;
const cancels = 20;
const maxMs = 60_000;

async function openWorld() {
  const scratch = await makeScratchDirectory();
  const config = join(scratch.path, "stint.yaml");
  const ledger = join(scratch.path, "ledger");
  await writeFile(config, `controllers: [{ name: ${controller}, runner: { remote: {} } }]\n`);
  await writeFile(ledger, "");
  const server = await ServedProcess.create({ directory: join(scratch.path, "store"), config });
  await server.start();
  const file = join(repositoryRoot, "test/e2e/runners/remote-steps.ts");
  const args = [
    "--import",
    import.meta.resolve("tsx"),
    file,
    server.baseUrl.replace("http://", ""),
    controller,
    ledger,
  ];
  const runners = [1, 2].map((): ChildProcess => spawn(process.execPath, args, { stdio: "inherit" }));
  return {
    server,
    runners,
    async launch(taskId: string, count: number, pauseMs: number): Promise<void> {
      const value = JSON.stringify({ steps: count, pauseMs });
      await server.client.launchTask({ controller, taskId, payload: { case: "jsonMetadata", value } });
    },
    async facts(): Promise<RemoteFact[]> {
      const lines = (await readFile(ledger, "utf8")).split("\n").filter((line) => line !== "");
      return lines.map((line) => JSON.parse(line) as RemoteFact);
    },
    async state(taskId: string) {
      return (await server.client.getTaskStatus({ controller, taskId })).status?.state;
    },
    async [Symbol.asyncDispose]() {
      for (const runner of runners) runner.kill("SIGKILL");
      await server.kill();
      await scratch[Symbol.asyncDispose]();
    },
  };
}

type World = Awaited<ReturnType<typeof openWorld>>;

/** Checks that the log of each task has every entry that was acknowledged, and each once; resolves to how many that were. */
async function checkLogs(world: World, tasks: readonly string[]): Promise<number> {
  const facts = await world.facts();
  for (const taskId of tasks) {
    const { entries } = await world.server.client.listTaskLogs({ controller, taskId, pageSize: 1_000 });
    const kept = entries.map(({ msg }) => msg);
    const acknowledged = facts.flatMap((fact) => ("entry" in fact && fact.task === taskId ? [fact.entry] : []));
    expect(kept).toEqual(Array.from({ length: steps }, (_, i) => `step ${i + 1}`));
    expect(acknowledged).toEqual(kept);
  }
  return facts.length;
}

test("runners work on while the server is killed and started again, and nothing acknowledged is lost", {
  timeout: 120_000 + restarts * 30_000,
}, async () => {
  await using world = await openWorld();
  const tasks: string[] = [];
  for (let round = 0; round < restarts; round += 1) {
    for (let n = 0; n < tasksPerRound; n += 1) {
      const taskId = `t${round}-${n}`;
      tasks.push(taskId);
      await world.launch(taskId, steps, 50);
    }
    await eventually(async () => expect(await world.state(`t${round}-0`)).toBe(StateRunning), maxMs);
    await sleep(500);
    await world.server.kill();
    await world.server.start();
  }
  for (const taskId of tasks) {
    await eventually(async () => expect(await world.state(taskId)).toBe(StateCompleted), maxMs);
  }
  for (const { exitCode, signalCode } of world.runners) expect([exitCode, signalCode]).toEqual([null, null]);
  const entries = await checkLogs(world, tasks);
  console.log(
    `remote restarts: ${restarts}, ${tasks.length} tasks, ${entries} entries acknowledged, none lost or twice`,
  );
});

test("a cancel reaches the code of a remote runner", { timeout: 120_000 }, async () => {
  await using world = await openWorld();
  const took: number[] = [];
  for (let n = 0; n < cancels; n += 1) {
    const taskId = `c${n}`;
    await world.launch(taskId, 1_000_000, 1_000);
    await eventually(async () => {
      if (!(await world.facts()).some((fact) => fact.task === taskId)) throw new Error("the task has not begun");
    }, maxMs);
    const fromMs = performance.timeOrigin + performance.now();
    await world.server.client.cancelTask({ controller, taskId });
    await eventually(async () => {
      const told = (await world.facts()).find((fact) => fact.task === taskId && "canceledAtMs" in fact);
      if (told === undefined || !("canceledAtMs" in told)) throw new Error("the task was not told");
      took.push(told.canceledAtMs - fromMs);
    }, maxMs);
  }
  took.sort((a, b) => a - b);
  const median = took[took.length / 2] ?? Number.NaN;
  expect(took).toHaveLength(cancels);
  console.log(
    `remote cancels: ${median.toFixed(1)} ms in the median of ${cancels}, ${took.at(-1)?.toFixed(1)} ms at most`,
  );
});
