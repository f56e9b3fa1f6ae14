/**
 * `stint serve` is killed with SIGKILL again and again, on one directory, while clients launch, cancel and watch and
 * runners set progress and write log entries. What was acknowledged to either side is written down outside of the server,
 * and compared in the end with what is on disk.
 *
 * KILL_ROUNDS: how many kills (default 5). KILL_SEED: what the clients and the kills go by; printed. KILL_KEEP: a directory
 * that stays, for a look at what is left. Needs dist/ (npm run build).
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { openStore } from "../../src/store/open.ts";
import { isActive } from "../../src/task/state.ts";
import { checkConsistency } from "../support/check-consistency.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { repositoryRoot, ServedProcess } from "../support/served-process.ts";
import { Caller } from "./kill-rounds/caller.ts";
import { answerProblems, askAll } from "./kill-rounds/check-answers.ts";
import { clientProblems } from "./kill-rounds/check-clients.ts";
import { followProblems } from "./kill-rounds/check-follows.ts";
import { historyProblems } from "./kill-rounds/check-history.ts";
import { runnerProblems } from "./kill-rounds/check-runner.ts";
import { controllers, driveDeath, driveMany, driveShared, driveTasks, type Field } from "./kill-rounds/drivers.ts";
import { figuresOf, lineOfFigures, tooFew } from "./kill-rounds/figures.ts";
import { Follower } from "./kill-rounds/follower.ts";
import { Killer } from "./kill-rounds/killer.ts";
import { Ledger, readLedgerLines } from "./kill-rounds/ledger.ts";
import { Told } from "./kill-rounds/told.ts";
import { readTruth } from "./kill-rounds/truth.ts";

const rounds = Number(process.env["KILL_ROUNDS"] ?? 5);
const seed = Number(process.env["KILL_SEED"] ?? Math.floor(Math.random() * 2 ** 32));
const sharedIds = ["shared-1", "shared-2"];
const restMaxMs = 120_000;
const problemsShown = 30;

let line = "it did not come to its end";
afterAll(() => {
  process.stderr.write(`kill rounds: ${rounds} kills, KILL_SEED=${seed}: ${line}\n`);
});

async function writeConfig(directory: string): Promise<string> {
  const ledger = join(repositoryRoot, "test/e2e/runners/ledger.ts");
  const file = join(directory, "stint.yaml");
  const config = {
    controllers: [
      { name: controllers.ledger, runner: { module: ledger } },
      { name: controllers.narrow, runner: { module: ledger }, concurrency: 2 },
      { name: controllers.countdown, runner: { module: join(repositoryRoot, "examples/runners/countdown.ts") } },
    ],
  };
  // JSON is YAML.
  await writeFile(file, JSON.stringify(config));
  return file;
}

/** Until no task of any controller is active any more. */
async function rested({ client }: Caller): Promise<void> {
  for (const untilMs = Date.now() + restMaxMs; ; await sleep(50)) {
    const answer = await client.listControllers({});
    const active = answer.controllers.flatMap(({ tasks }) => tasks).filter(({ state }) => isActive(state));
    if (active.length === 0) return;
    if (Date.now() > untilMs) throw new Error(`tasks do not end: ${JSON.stringify(active.map(({ state }) => state))}`);
  }
}

test(`${rounds} kills of the server lose nothing that was acknowledged, and every task ends as it must`, {
  timeout: 300_000 + rounds * 20_000,
}, async () => {
  await using scratch = await makeScratchDirectory();
  const directory = process.env["KILL_KEEP"] ?? scratch.path;
  await mkdir(directory, { recursive: true });
  const data = join(directory, "data");
  await using service = await ServedProcess.create({ directory: data, config: await writeConfig(directory) });
  const random = new SeededRandom(seed);
  const told = new Told();
  const ending = new AbortController();
  const killer = new Killer(service, random.fork(), { told, directory });
  const { reachable } = killer;
  const clients = Array.from({ length: 4 }, () => service.connect());
  const followers: Follower[] = [];
  const field: Field = {
    told,
    ending: ending.signal,
    newCaller: () => new Caller(told, { client: random.pick(clients), reachable }, random.fork()),
    follow(task) {
      const follower = new Follower(told, { client: random.pick(clients), reachable }, task);
      followers.push(follower);
      return follower;
    },
  };
  const shared = sharedIds.map((taskId) => field.follow({ controller: controllers.ledger, taskId }));
  const driving: Promise<void>[] = [];
  const drive = (driver: Promise<void>): void => {
    driving.push(driver.catch((error: unknown) => told.complain(`a client gave up: ${String(error)}`)));
  };
  for (let i = 0; i < 12; i += 1) drive(driveTasks(field));
  for (let i = 0; i < 2; i += 1) drive(driveMany(field));
  for (let i = 0; i < 3; i += 1) drive(driveShared(field, sharedIds));

  for (let round = 0; round < rounds; round += 1) await killer.round(() => drive(driveDeath(field)));
  await killer.last();
  ending.abort();
  await Promise.all(driving);
  const caller = field.newCaller();
  await rested(caller);
  const restBegunMs = performance.now();
  for (const follower of shared) {
    const { revision } = await caller.status(follower.controller, follower.taskId);
    if (!(await follower.passed(revision, () => performance.now() - restBegunMs > restMaxMs))) {
      const { taskId, position, lastError } = follower;
      told.complain(`a watch of ${taskId} stays at ${position}, the end is at ${revision} (${lastError})`);
    }
    await follower.stop();
  }
  const answers = await askAll(caller);
  expect(await service.stop(), "the exit code of a stop").toBe(0);

  const truth = await readTruth(data);
  const ledger = new Ledger();
  for (const life of killer.lives) ledger.takeLife(life.number, await readLedgerLines(life.ledger));
  const figures = figuresOf({ told, ledger, truth, followers, lives: killer.lives });
  line = lineOfFigures(figures);
  const killedMs = killer.lives.map((life) => life.killedMs);
  const problems = [
    ...historyProblems(truth),
    ...clientProblems(told, truth, ledger),
    ...runnerProblems(ledger, truth, killedMs),
    ...followProblems(followers, truth),
    ...answerProblems(answers, truth),
  ];
  expect(problems.slice(0, problemsShown), `${problems.length} problems`).toEqual([]);
  expect(service.complaints, "what the server complained of").toEqual([]);
  const store = await openStore(`level:${data}`);
  for (const name of Object.values(controllers)) await checkConsistency(store, name);
  await store.close();
  expect(tooFew(figures, rounds), "too little has happened to say anything").toEqual([]);
});
