/** Commands of a real server that is killed with SIGKILL and started again. Needs dist/ (npm run build). */
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { StateCompleted, StateRunning } from "../../src/task/state.ts";
import { isRunning, numberIn } from "../support/command-harness.ts";
import { eventually } from "../support/eventually.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { ServedProcess } from "../support/served-process.ts";

const kills = Number(process.env["EXEC_KILLS"] ?? 3);
const tasks = 20;

async function serve(directory: string, command: readonly string[]): Promise<ServedProcess> {
  const config = join(directory, "stint.yaml");
  const controllers = [{ name: "exec", runner: { exec: { command } }, concurrency: 40 }];
  // JSON is YAML.
  await writeFile(config, JSON.stringify({ controllers }));
  return ServedProcess.create({ directory: join(directory, "data"), config });
}

/**
 * Forks three processes that stay and ignore SIGTERM: one in its group, one that has left it, one in it without a trace of
 * the task in its environment. At its second attempt it tells who of the first still runs.
 */
const forks = `
import { spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
const [directory] = process.argv.slice(2);
const names = ["in-group", "left-group", "no-environment", "itself"];
const files = names.map((name) => directory + "/" + name);
const isAlive = (pid) => { try { return !/\\) Z/.test(readFileSync("/proc/" + pid + "/stat", "latin1")); } catch { return false; } };
if (process.env.STINT_ATTEMPT !== "1") {
  const alive = names.filter((name, index) => isAlive(readFileSync(files[index], "utf8").trim()));
  console.log("::result " + JSON.stringify({ alive, attempt: process.env.STINT_ATTEMPT, progress: process.env.STINT_PROGRESS }));
} else {
  const stay = (file) => "process.on('SIGTERM', () => {}); require('fs').writeFileSync(" + JSON.stringify(file) + ", process.pid + '\\\\n'); setInterval(() => {}, 1000)";
  const fork = (index, options) => spawn(process.execPath, ["-e", stay(files[index])], { stdio: "ignore", ...options });
  fork(0, {});
  fork(1, { detached: true });
  fork(2, { env: {} });
  process.on("SIGTERM", () => {});
  writeFileSync(files[3], process.pid + "\\n");
  const until = () => (files.every((file) => existsSync(file)) ? console.log("::progress 4/10") : setTimeout(until, 10));
  until();
  setInterval(() => {}, 1000);
}
`;

test("a command that a killed server has left is ended, with all it has started, before its task is resumed", {
  timeout: 120_000,
}, async () => {
  await using scratch = await makeScratchDirectory();
  const script = join(scratch.path, "forks.mjs");
  await writeFile(script, forks);
  await using service = await serve(scratch.path, [process.execPath, script, scratch.path]);
  await service.start();
  const { client } = service;
  const task = { controller: "exec", taskId: "a" };
  await client.launchTask(task);
  await eventually(async () => {
    const { status } = await client.getTaskStatus(task);
    expect([status?.state, status?.progress?.current]).toEqual([StateRunning, 4n]);
  }, 60_000);
  await service.kill();
  const files = ["in-group", "left-group", "no-environment", "itself"].map((name) => join(scratch.path, name));
  const pids = await Promise.all(files.map(numberIn));
  expect(await Promise.all(pids.map(isRunning))).toEqual([true, true, true, true]);

  await service.start();
  expect(await Promise.all(pids.map(isRunning))).toEqual([false, false, false, false]);
  for await (const _ of client.watchTask(task));
  const { status } = await client.getTaskStatus(task);
  expect(status).toMatchObject({ state: StateCompleted, attempt: 2 });
  expect(JSON.parse(status?.result ?? "")).toEqual({ alive: [], attempt: "2", progress: "4/10" });
  await service.stop();
});

test.skipIf(process.platform !== "linux")(
  "what has no environment is ended also when its command has ended since the server was killed",
  { timeout: 120_000 },
  async () => {
    await using scratch = await makeScratchDirectory();
    const [left, itself, go] = ["left", "itself", "go"].map((name) => join(scratch.path, name)) as [
      string,
      ...string[],
    ];
    const script = `if [ "$STINT_ATTEMPT" != 1 ]; then exit 0; fi
      env -i "$(command -v sleep)" 1000 &
      echo $! >"$1/left"
      echo $$ >"$1/itself"
      until [ -e "$1/go" ]; do sleep 0.05; done`;
    await using service = await serve(scratch.path, ["sh", "-c", script, "sh", scratch.path]);
    await service.start();
    const task = { controller: "exec", taskId: "a" };
    await service.client.launchTask(task);
    const pids = [await numberIn(left), await numberIn(itself as string)];
    await service.kill();
    await writeFile(go as string, "");
    await eventually(async () => expect(await Promise.all(pids.map(isRunning))).toEqual([true, false]), 30_000);
    await service.start();
    expect(await isRunning(pids[0] as number)).toBe(false);
    await service.stop();
  },
);

/** Notes that its task's attempt before still runs, if it does; then takes a while. */
const notes = `
before=$(cat "$1/$STINT_TASK_ID" 2>/dev/null || true)
if [ -n "$before" ] && grep -qzx "STINT_TASK_ID=$STINT_TASK_ID" "/proc/$before/environ" 2>/dev/null; then
  echo "$before" >"$1/overlap-$STINT_TASK_ID-$STINT_ATTEMPT"
fi
echo $$ >"$1/$STINT_TASK_ID"
i=$\${STINT_PROGRESS%/*}
i=$((i))
while [ $i -lt 10 ]; do
  i=$((i + 1))
  echo "::progress $i/10"
  sleep 0.2
done
`;

test(`no command runs twice at a time over ${kills} kills of the server at any moment, and none is left at the end`, {
  timeout: 60_000 + kills * 60_000,
}, async () => {
  await using scratch = await makeScratchDirectory();
  await using service = await serve(scratch.path, ["sh", "-c", notes, "sh", scratch.path]);
  const { client } = service;
  await service.start();
  const ids = Array.from({ length: tasks }, (_, index) => `task-${index}`);
  await Promise.all(ids.map((taskId) => client.launchTask({ controller: "exec", taskId })));
  for (let kill = 0; kill < kills; kill += 1) {
    // From right at their start to far into them.
    await sleep((700 * kill) / kills);
    await service.kill();
    await service.start();
  }
  for (const taskId of ids) for await (const _ of client.watchTask({ controller: "exec", taskId }));
  const { tasks: ended } = await client.listTasks({ controller: "exec" });
  expect(ended.map(({ status }) => status?.state)).toEqual(ids.map(() => StateCompleted));
  expect(Math.max(...ended.map(({ status }) => status?.attempt ?? 0)), "attempts that were killed").toBeGreaterThan(1);
  expect((await readdir(scratch.path)).filter((name) => name.startsWith("overlap"))).toEqual([]);
  expect(await service.stop()).toBe(0);
  expect(await readdir(join(scratch.path, "data/commands"))).toEqual(["owner"]);
});
