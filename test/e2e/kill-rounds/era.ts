/**
 * So many kills, and then the reckoning: the server is left to finish, stopped, and what was acknowledged is compared with what is
 * on disk. The next era goes on with the same directory. Without eras neither the directory nor the oracle would be bounded.
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { openStore } from "../../../src/store/open.ts";
import { isActive } from "../../../src/task/state.ts";
import { checkConsistency } from "../../support/check-consistency.ts";
import type { SeededRandom } from "../../support/seeded-random.ts";
import type { ServedProcess } from "../../support/served-process.ts";
import { Caller } from "./caller.ts";
import { answerProblems, askAll } from "./check-answers.ts";
import { clientProblems } from "./check-clients.ts";
import { followProblems } from "./check-follows.ts";
import { historyProblems } from "./check-history.ts";
import { runnerProblems } from "./check-runner.ts";
import { controllers, driveDeath, driveMany, driveShared, driveTasks, type Field } from "./drivers.ts";
import { type Figures, figuresOf } from "./figures.ts";
import { Follower } from "./follower.ts";
import { Killer } from "./killer.ts";
import { Ledger, readLedgerLines } from "./ledger.ts";
import { writeOptions } from "./options.ts";
import { ReplyCutter } from "./reply-cutter.ts";
import { Told } from "./told.ts";
import { readTruth } from "./truth.ts";

/** What goes on from era to era. */
export interface Ground {
  readonly service: ServedProcess;
  /** The store's directory. */
  readonly data: string;
  /** The file that the server reads. */
  readonly config: string;
  /** What lives and eras leave beside that. */
  readonly directory: string;
  readonly random: SeededRandom;
}

const restMaxMs = 120_000;
const problemsShown = 30;

/** `since`: the store's revision at the beginning, when there is no task. */
export async function runEra(
  { service, data, config, directory: root, random }: Ground,
  { name, kills, since }: { name: string; kills: number; since: number },
): Promise<Figures> {
  const directory = join(root, `era-${name}`);
  await mkdir(directory);
  await using cutter = await ReplyCutter.listen(service.port);
  const told = new Told(name);
  const ending = new AbortController();
  const killer = new Killer(service, random.fork(), { told, directory, config, data });
  const { reachable } = killer;
  const clients = Array.from({ length: 4 }, () => service.connect());
  const unanswered = service.connect(cutter.baseUrl);
  const followers: Follower[] = [];
  const field: Field = {
    told,
    ending: ending.signal,
    newCaller: () => new Caller(told, { client: random.pick(clients), unanswered, reachable }, random.fork()),
    follow(task) {
      const follower = new Follower(told, { client: random.pick(clients), reachable }, task);
      followers.push(follower);
      return follower;
    },
  };
  const sharedIds = [`shared-${told.nonce()}`, `shared-${told.nonce()}`];
  const shared = sharedIds.map((taskId) => field.follow({ controller: controllers.ledger, taskId }));
  const driving: Promise<void>[] = [];
  const drive = (driver: Promise<void>): void => {
    driving.push(driver.catch((error: unknown) => told.complain(`a client gave up: ${String(error)}`)));
  };
  for (let i = 0; i < 12; i += 1) drive(driveTasks(field));
  for (let i = 0; i < 2; i += 1) drive(driveMany(field));
  for (let i = 0; i < 3; i += 1) drive(driveShared(field, sharedIds));

  for (let round = 0; round < kills; round += 1) await killer.round(() => drive(driveDeath(field)));
  await killer.last();
  ending.abort();
  await Promise.all(driving);
  const caller = field.newCaller();
  await rested(caller);
  await finishFollowing(shared, caller);
  const answers = await askAll(caller);
  expect(await service.stop(), "the exit code of a stop").toBe(0);

  const truth = await readTruth(data, since);
  const ledger = new Ledger();
  for (const life of killer.lives) ledger.takeLife(life.number, await readLedgerLines(life.ledger));
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
  for (const controller of Object.values(controllers)) await checkConsistency(store, controller);
  await store.close();
  await rm(directory, { recursive: true });
  return figuresOf({ told, ledger, truth, followers, lives: killer.lives, cuts: cutter.cuts, since });
}

/** Has a server sweep what has ended, and kills it; the store's revision when there is no task any more. */
export async function sweep({ service, config, directory, random }: Ground): Promise<number> {
  await writeOptions(config, random, 0);
  await service.start({ STINT_LEDGER: join(directory, "sweeping.jsonl") });
  for (const untilMs = Date.now() + restMaxMs; ; await sleep(50)) {
    const { controllers: all } = await service.client.listControllers({});
    const left = all.flatMap(({ tasks }) => tasks).reduce((sum, { count }) => sum + Number(count), 0);
    if (left === 0) break;
    if (Date.now() > untilMs) throw new Error(`${left} tasks are not swept`);
  }
  const { store } = await service.client.getServerInfo({});
  await service.kill();
  return Number(store?.revision);
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

/** Watches of tasks that nobody drives alone come to their ends, too. */
async function finishFollowing(followers: readonly Follower[], caller: Caller): Promise<void> {
  const begunMs = performance.now();
  for (const follower of followers) {
    const { taskId, controller } = follower;
    const { revision } = await caller.status(controller, taskId);
    if (!(await follower.passed(revision, () => performance.now() - begunMs > restMaxMs))) {
      const { position, lastError } = follower;
      caller.told.complain(`a watch of ${taskId} stays at ${position}, the end is at ${revision} (${lastError})`);
    }
    await follower.stop();
  }
}
