/**
 * Remote runners share tasks while one after the other is killed, paused, and cut off in one direction. Of 24 places 16 are in use: two runners
 * have room for what the third loses.
 */
import type { ChildProcess } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { eventually } from "../../support/eventually.ts";
import { checkTasks } from "./check-tasks.ts";
import type { Relay } from "./relay.ts";
import { TasksWatch } from "./tasks-watch.ts";
import { controller, isRunner, leaseMs, openRemoteWorld, type RemoteWorld } from "./world.ts";

/** What there is at least. */
export interface FaultDose {
  readonly tasks: number;
  readonly faults: number;
  /** Writes under old fences, all of which are refused. */
  readonly staleWrites: number;
}

interface Runner {
  readonly language: string;
  readonly relay: Relay;
  child: ChildProcess;
}

/** A runner in the midst of its tasks, and what is needed to do something to it. */
interface Victim {
  readonly world: RemoteWorld;
  readonly watch: TasksWatch;
  readonly runner: Runner;
  /** What tasks have as their runner. */
  readonly name: string;
  /** How many had the same happen to them before. */
  readonly nth: number;
}

const filesCount = 40;
const pauseMs = 150;
const activeTasks = 16;
/** Of a runner, so that something can be lost. */
const tasksMin = 4;
const maxMs = 60_000;
const waitMaxMs = 1.5 * leaseMs;
/** In leases, one pause after the other. */
const pauses = [1.5, 2, 1.5, 3, 1.5, 2, 1.5, 5, 1.5, 2, 1.5, 10] as const;
const cutMs = 1.5 * leaseMs;
/** For how long one that was paused says what it has to say before it hears that it is stale. */
const unawareMs = 700;

const faults = {
  async paused({ watch, runner, name, nth }: Victim): Promise<void> {
    runner.relay.hold("server");
    runner.child.kill("SIGSTOP");
    watch.silence(name);
    await sleep((pauses[nth % pauses.length] ?? 0) * leaseMs);
    watch.heard(name);
    runner.child.kill("SIGCONT");
    await sleep(unawareMs);
    runner.relay.release();
  },
  async killed({ world, watch, runner, name }: Victim): Promise<void> {
    runner.child.kill("SIGKILL");
    watch.silence(name);
    runner.child = world.start(runner.language, runner.relay.target);
    await eventually(() => expect(watch.active(name)).toEqual([]), maxMs);
    watch.heard(name);
  },
  /** What it says does not arrive. */
  async unheard({ watch, runner, name }: Victim): Promise<void> {
    runner.relay.hold("runner");
    watch.silence(name);
    await sleep(cutMs);
    watch.heard(name);
    runner.relay.release();
  },
  /** It hears nothing. So it gives its connection up, from when on it is not heard either: a new one does not come about. */
  async deaf({ watch, runner, name }: Victim): Promise<void> {
    const givenUp = runner.relay.givenUp();
    runner.relay.hold("server");
    await givenUp;
    watch.silence(name);
    await sleep(cutMs);
    watch.heard(name);
    runner.relay.release();
  },
};

type Fault = keyof typeof faults;

/** Half are pauses: they are what makes stale writes. */
const order: readonly Fault[] = ["paused", "killed", "unheard", "deaf", "paused", "paused"];

/** Resolves to the line of figures. Throws for whatever was lost, doubled, late or missing. */
export async function shareUnderFaults(dose: FaultDose, languages: readonly string[]): Promise<string> {
  const startedMs = performance.now();
  await using world = await openRemoteWorld(filesCount);
  await using watch = new TasksWatch(world.server, controller);
  const runners: Runner[] = [];
  for (const language of languages) {
    const relay = await world.relay();
    runners.push({ language, relay, child: world.start(language, relay.target) });
  }
  const tasks: string[] = [];
  const feeding = new AbortController();
  const fed = feed(world, { watch, tasks, signal: feeding.signal });
  const counts = await befall(world, watch, { runners, dose }).finally(async () => {
    feeding.abort();
    await fed;
  });
  const { faults } = await world.server.client.getServerInfo({});
  expect(faults["leases_expired"]).toBeGreaterThan(0);
  expect(faults["stale_writes_refused"]).toBeGreaterThan(0);
  const { entries, refusedWrites } = await checkTasks(world, watch, tasks);
  const figures = [
    `${tasks.length} tasks of ${filesCount} files by ${languages.join(", ")}`,
    [...counts].map(([fault, count]) => `${count} times ${fault}`).join(", "),
    `${watch.moves} times offered again, after ${(watch.longestWait.ms / leaseMs).toFixed(2)} leases at most`,
    `${refusedWrites} stale writes refused, 0 taken`,
    `${entries} entries, 0 lost, 0 doubled`,
    `${Math.round((performance.now() - startedMs) / 1_000)} s`,
  ].join("; ");
  expect(watch.longestWait.ms, `${figures}; ${watch.longestWait.of}`).toBeLessThan(waitMaxMs);
  return figures;
}

/** One fault after the other, each to another runner, until all is enough; resolves to how many there were of each. */
async function befall(
  world: RemoteWorld,
  watch: TasksWatch,
  { runners, dose }: { readonly runners: readonly Runner[]; readonly dose: FaultDose },
): Promise<ReadonlyMap<Fault, number>> {
  const counts = new Map<Fault, number>(order.map((fault) => [fault, 0]));
  const isEnough = (n: number): boolean =>
    n >= dose.faults && watch.refusedWrites >= dose.staleWrites && watch.statuses.size >= dose.tasks;
  for (let n = 0; !isEnough(n); n += 1) {
    const fault = order[n % order.length] as Fault;
    const runner = runners[(n + Math.floor(n / order.length)) % runners.length] as Runner;
    const nth = counts.get(fault) ?? 0;
    const name = await atWork(watch, runner);
    await faults[fault]({ world, watch, runner, name, nth });
    counts.set(fault, nth + 1);
    expect(watch.problems).toEqual([]);
  }
  return counts;
}

interface Feed {
  readonly watch: TasksWatch;
  /** All that were launched. */
  readonly tasks: string[];
  readonly signal: AbortSignal;
}

/** Keeps as many tasks active as there shall be, until the signal. */
async function feed(world: RemoteWorld, { watch, tasks, signal }: Feed): Promise<void> {
  for (; !signal.aborted; await sleep(100)) {
    const active = tasks.filter((taskId) => !watch.hasEnded(taskId)).length;
    for (let n = active; n < activeTasks; n += 1) {
      tasks.push(`t${tasks.length + 1}`);
      await world.launch(pauseMs, ...tasks.slice(-1));
    }
  }
}

/** Resolves to the name of the runner as soon as it has something to lose, and what was done before is over for all tasks. */
async function atWork(watch: TasksWatch, { child }: Runner): Promise<string> {
  let name = "";
  await eventually(() => {
    name = [...watch.statuses.values()].find(({ runner }) => isRunner(runner, child))?.runner ?? "";
    expect(watch.active(name).length).toBeGreaterThanOrEqual(tasksMin);
    expect(watch.areAllServed).toBe(true);
  }, maxMs);
  return name;
}
