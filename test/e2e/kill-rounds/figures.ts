/** How much happened: printed, and the gate against rounds in which nothing did. */
import { LaunchOutcome } from "#gen/stint/v1/controller_pb.js";
import { controllers } from "./drivers.ts";
import type { Follower } from "./follower.ts";
import { places } from "./failpoint.ts";
import { allWays, type Life, type Way } from "./killer.ts";
import type { Ledger } from "./ledger.ts";
import type { Told } from "./told.ts";
import { runsOf, type Truth } from "./truth.ts";

export interface Figures {
  readonly counts: Readonly<Record<keyof typeof least, number>>;
  readonly kills: Readonly<Record<Way, number>>;
}

/** At the least, for each kill: what a machine that has much else to do still reaches. */
const least = {
  "acknowledged launches": 4,
  "of them replacing a live run": 0.4,
  "of an ended one": 0.2,
  "acknowledged cancels": 0.4,
  "acknowledged progress": 20,
  "acknowledged log entries": 40,
  "tasks that were running when the server was killed": 1,
  "attempts that resumed": 1,
  "calls that were answered only when repeated": 0.5,
  "answers cut off by a proxy": 0.5,
  "watches that went on after a kill": 1,
  "statuses watched": 8,
  tasks: 2,
  runs: 3,
  revisions: 60,
  "kills before it served": 0,
  "ms between the first and the last that resumed in the last life": 0,
} as const;

/** From so many kills on each place must have had its share, which is about one in twenty. */
const placesFrom = 200;
const killsOfPlace = 0.01;

export const noFigures: Figures = {
  counts: mapKeys(Object.keys(least) as (keyof typeof least)[], () => 0),
  kills: mapKeys(allWays, () => 0),
};

/** Both together; of what lasts, the longer. */
export function addFigures(one: Figures, other: Figures): Figures {
  return {
    counts: mapKeys(Object.keys(least) as (keyof typeof least)[], (what) =>
      what.startsWith("ms ") ? Math.max(one.counts[what], other.counts[what]) : one.counts[what] + other.counts[what],
    ),
    kills: mapKeys(allWays, (way) => one.kills[way] + other.kills[way]),
  };
}

export function figuresOf(from: {
  told: Told;
  ledger: Ledger;
  truth: Truth;
  followers: readonly Follower[];
  lives: readonly Life[];
  /** Answers that a proxy has cut off. */
  cuts: number;
  /** The store's revision before it all. */
  since: number;
}): Figures {
  const { told, ledger, truth, followers, lives, cuts, since } = from;
  const launches = told.launches.filter(({ answer }) => answer !== undefined);
  const runs = [...truth.tasks.values()].flatMap((task) => runsOf(task));
  const cancels = told.cancels.filter(({ answer }) => answer !== undefined);
  const killed = lives.filter(({ killedMs }) => killedMs !== Infinity);
  const counts = {
    "acknowledged launches": launches.length,
    "of them replacing a live run": launches.filter(({ answer }) => answer?.outcome === LaunchOutcome.RESTARTED).length,
    "of an ended one": runs.filter(({ before }) => before?.status.endTime !== undefined).length,
    "acknowledged cancels": cancels.length,
    "acknowledged progress": sum(ledger.attempts.map(({ progress }) => progress.length)),
    "acknowledged log entries": sum(ledger.attempts.map(({ logs }) => logs.length)),
    "tasks that were running when the server was killed": sum(killed.map(({ number }) => ledger.cutOff[number] ?? 0)),
    "attempts that resumed": ledger.attempts.filter(({ attempt }) => attempt > 1).length,
    "calls that were answered only when repeated": [...launches, ...cancels].filter(({ tries }) => tries > 1).length,
    "answers cut off by a proxy": cuts,
    "watches that went on after a kill": sum(followers.map(({ resumes }) => resumes)),
    "statuses watched": sum(followers.map(({ messages }) => messages.filter(({ line }) => line !== undefined).length)),
    tasks: truth.tasks.size,
    runs: runs.length,
    revisions: truth.lastRevision - since,
    "kills before it served": killed.filter(({ served }) => !served).length,
    "ms between the first and the last that resumed in the last life": resumingMs(from),
  };
  return { counts, kills: mapKeys(allWays, (way) => lives.filter((life) => life.killed === way).length) };
}

/** Those that wait for a place of their controller are left out. */
function resumingMs({ ledger, truth, lives }: { ledger: Ledger; truth: Truth; lives: readonly Life[] }): number {
  const last = lives.at(-1);
  const resumed = ledger.attempts.filter(
    ({ life, attempt, task }) =>
      life === last?.number && attempt > 1 && truth.task(task)?.controller === controllers.ledger,
  );
  const begun = resumed.map(({ begunUs }) => begunUs);
  return begun.length === 0 ? 0 : Math.round((Math.max(...begun) - Math.min(...begun)) / 1_000);
}

/** What there was too little of to say anything. */
export function tooFew({ counts, kills: killsOf }: Figures, kills: number): string[] {
  const ofKinds = Object.entries(least).flatMap(([what, perKill]) => {
    const is = counts[what as keyof typeof least];
    return is < perKill * kills ? [`${is} ${what}, and not ${perKill * kills}`] : [];
  });
  const rare = kills < placesFrom ? [] : places.filter((place) => killsOf[place] < killsOfPlace * kills);
  return [...ofKinds, ...rare.map((place) => `${killsOf[place]} kills at ${place}`)];
}

export function lineOfFigures({ counts, kills }: Figures): string {
  const ofWays = Object.entries(kills).map(([way, count]) => `${way} ${count}`);
  const ofKinds = Object.entries(counts).map(([what, count]) => `${count} ${what}`);
  return `${ofKinds.join(", ")}; killed by ${ofWays.join(", ")}`;
}

function mapKeys<K extends string, V>(keys: readonly K[], valueOf: (key: K) => V): Record<K, V> {
  return Object.fromEntries(keys.map((key) => [key, valueOf(key)])) as Record<K, V>;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
