/** Measures subjects in turn, A B A B, so that what else the machine does falls on all of them, and prints them as a table. */
import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";

/** Brings tasks from launch to end. */
export interface Subject {
  bring(task: number): Promise<void>;
  close(): Promise<void>;
}

export interface Contender {
  readonly name: string;
  /** When what it has written is on disk. */
  readonly synced: string;
  /** Opens the subject in an empty directory. */
  readonly open: (directory: string) => Promise<Subject>;
  /** How many rounds it takes part in at most. Default all. */
  readonly rounds?: number;
}

export interface Dose {
  readonly tasks: number;
  readonly rounds: number;
  readonly inFlight: number;
}

/** A number from the environment. */
export function dose(name: string, byDefault: number): number {
  return Number(process.env[name] ?? byDefault);
}

/** Tasks a second of each contender in each of its rounds, after one that warms up and does not count. */
export async function measureInTurn(contenders: readonly Contender[], turns: Dose): Promise<Map<string, number[]>> {
  const rates = new Map<string, number[]>(contenders.map(({ name }) => [name, []]));
  for (const { open } of contenders) await measure(open, { ...turns, tasks: Math.ceil(turns.tasks / 4) });
  for (let round = 0; round < turns.rounds; round += 1) {
    for (const { name, open, rounds = turns.rounds } of contenders) {
      if (round < rounds) rates.get(name)?.push(await measure(open, turns));
    }
  }
  return rates;
}

async function measure(open: Contender["open"], { tasks, inFlight }: Dose): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), "stint-bench-"));
  try {
    const subject = await open(directory);
    let next = 0;
    const bringAll = async (): Promise<void> => {
      while (next < tasks) await subject.bring(next++);
    };
    const since = performance.now();
    await Promise.all(Array.from({ length: inFlight }, bringAll));
    const seconds = (performance.now() - since) / 1_000;
    await subject.close();
    return tasks / seconds;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/**
 * Prints what was measured and where, and a line for each contender: median, spread, and how much of the
 * median of each other `of` names it has. Ratios are what can be compared: machines are noisy.
 */
export function printRates(
  title: string,
  contenders: readonly Contender[],
  rates: ReadonlyMap<string, readonly number[]>,
  of: readonly string[],
): void {
  const [cpu] = cpus();
  console.log(
    `${title}\nNode ${process.version}, ${cpus().length} x ${cpu?.model ?? "unknown processor"}, rounds in turn\n`,
  );
  const ratios = of.map((name) => `/ ${name}`.padStart(Math.max(11, name.length + 4)));
  console.log(`${"tasks/s".padEnd(14)}rounds   median      low     high${ratios.join("")}   on disk`);
  for (const { name, synced } of contenders) {
    const own = rates.get(name) ?? [];
    const numbers = [median(own), Math.min(...own), Math.max(...own)].map((rate) =>
      String(Math.round(rate)).padStart(9),
    );
    const shares = of.map((other, i) =>
      (median(own) / median(rates.get(other) ?? [])).toFixed(2).padStart(ratios[i]?.length ?? 0),
    );
    console.log(`${name.padEnd(14)}${String(own.length).padStart(6)}${[...numbers, ...shares].join("")}   ${synced}`);
  }
}

/** The middle of the rates; the mean of the two in the middle where their number is even. */
export function median(rates: readonly number[]): number {
  const sorted = rates.toSorted((a, b) => a - b);
  const middle = sorted.slice((sorted.length - 1) >> 1, (sorted.length >> 1) + 1);
  return middle.reduce((sum, rate) => sum + rate, 0) / middle.length;
}
