/** How much happened: printed, and the gate against rounds in which nothing did. */
import { LaunchOutcome } from "#gen/stint/v1/controller_pb.js";
import { controllers } from "./drivers.ts";
import type { Follower } from "./follower.ts";
import type { Life } from "./killer.ts";
import type { Ledger } from "./ledger.ts";
import type { Told } from "./told.ts";
import { runsOf, type Truth } from "./truth.ts";

export type Figures = Readonly<Record<keyof typeof least, number>>;

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
  "watches that went on after a kill": 1,
  "statuses watched": 8,
  tasks: 2,
  runs: 3,
  revisions: 60,
  "kills before it served": 0,
  "ms between the first and the last that resumed in the last life": 0,
} as const;

export function figuresOf(from: {
  told: Told;
  ledger: Ledger;
  truth: Truth;
  followers: readonly Follower[];
  lives: readonly Life[];
}): Figures {
  const { told, ledger, truth, followers, lives } = from;
  const launches = told.launches.filter(({ answer }) => answer !== undefined);
  const runs = [...truth.tasks.values()].flatMap((task) => runsOf(task));
  const cancels = told.cancels.filter(({ answer }) => answer !== undefined);
  const killed = lives.filter(({ killedMs }) => killedMs !== Infinity);
  return {
    "acknowledged launches": launches.length,
    "of them replacing a live run": launches.filter(({ answer }) => answer?.outcome === LaunchOutcome.RESTARTED).length,
    "of an ended one": runs.filter(({ before }) => before?.status.endTime !== undefined).length,
    "acknowledged cancels": cancels.length,
    "acknowledged progress": sum(ledger.attempts.map(({ progress }) => progress.length)),
    "acknowledged log entries": sum(ledger.attempts.map(({ logs }) => logs.length)),
    "tasks that were running when the server was killed": sum(killed.map(({ number }) => ledger.cutOff[number] ?? 0)),
    "attempts that resumed": ledger.attempts.filter(({ attempt }) => attempt > 1).length,
    "calls that were answered only when repeated": [...launches, ...cancels].filter(({ tries }) => tries > 1).length,
    "watches that went on after a kill": sum(followers.map(({ resumes }) => resumes)),
    "statuses watched": sum(followers.map(({ messages }) => messages.filter(({ line }) => line !== undefined).length)),
    tasks: truth.tasks.size,
    runs: runs.length,
    revisions: truth.lastRevision,
    "kills before it served": killed.filter(({ served }) => !served).length,
    "ms between the first and the last that resumed in the last life": resumingMs(from),
  };
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
export function tooFew(figures: Figures, kills: number): string[] {
  return Object.entries(least).flatMap(([what, perKill]) => {
    const is = figures[what as keyof Figures];
    return is < perKill * kills ? [`${is} ${what}, and not ${perKill * kills}`] : [];
  });
}

export function lineOfFigures(figures: Figures): string {
  return Object.entries(figures)
    .map(([what, count]) => `${count} ${what}`)
    .join(", ");
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
