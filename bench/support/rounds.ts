/** Measures subjects in turn, A B A B, so that what else the machine does falls on all of them, and prints them as a table. */
import { makeDirectory } from "./directory.ts";
import { printHeading } from "./rows.ts";

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
  for (const { open } of contenders) await measure(open, { ...turns, tasks: Math.ceil(turns.tasks / 4) });
  return inTurn(
    contenders.map(({ name, open, rounds }) => ({ name, rounds, measure: () => measure(open, turns) })),
    turns.rounds,
  );
}

/** Something that is measured in each round, or in the first `rounds` of them. */
export interface Measured<T> {
  readonly name: string;
  readonly measure: () => Promise<T>;
  readonly rounds?: number | undefined;
}

/** What each has measured in each of its rounds. */
export async function inTurn<T>(all: readonly Measured<T>[], rounds: number): Promise<Map<string, T[]>> {
  const measured = new Map<string, T[]>(all.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const { name, measure, rounds: atMost = rounds } of all) {
      if (round < atMost) measured.get(name)?.push(await measure());
    }
  }
  return measured;
}

async function measure(open: Contender["open"], { tasks, inFlight }: Dose): Promise<number> {
  await using directory = await makeDirectory();
  const subject = await open(directory.path);
  let next = 0;
  const bringAll = async (): Promise<void> => {
    while (next < tasks) await subject.bring(next++);
  };
  const since = performance.now();
  await Promise.all(Array.from({ length: inFlight }, bringAll));
  const seconds = (performance.now() - since) / 1_000;
  await subject.close();
  return tasks / seconds;
}

/** A line of a table: what was measured, and a remark about it. */
export interface Line {
  readonly name: string;
  readonly remark: string;
}

/**
 * Prints what was measured and where, and a line for each: median, spread, and how much of the
 * median of each other `of` names it has. Ratios are what can be compared: machines are noisy.
 */
export function printRates(
  { title, unit, remark }: { readonly title: string; readonly unit: string; readonly remark: string },
  lines: readonly Line[],
  rates: ReadonlyMap<string, readonly number[]>,
  of: readonly string[] = [],
): void {
  printHeading(title);
  const ratios = of.map((name) => `/ ${name}`.padStart(Math.max(11, name.length + 4)));
  const nameWidth = Math.max(14, ...lines.map(({ name }) => name.length + 2));
  console.log(`${unit.padEnd(nameWidth)}rounds   median      low     high${ratios.join("")}   ${remark}`);
  for (const { name, remark: own } of lines) {
    const rounds = rates.get(name) ?? [];
    const numbers = [median(rounds), Math.min(...rounds), Math.max(...rounds)].map((rate) =>
      inFigures(rate).padStart(9),
    );
    const shares = of.map((other, i) =>
      shareOf(rates, name, other)
        .toFixed(2)
        .padStart(ratios[i]?.length ?? 0),
    );
    console.log(
      `${name.padEnd(nameWidth)}${String(rounds.length).padStart(6)}${[...numbers, ...shares].join("")}   ${own}`,
    );
  }
}

/** The median of one as a part of that of another; NaN where one of them was not measured. */
export function shareOf(rates: ReadonlyMap<string, readonly number[]>, name: string, other: string): number {
  return median(rates.get(name) ?? []) / median(rates.get(other) ?? []);
}

/** In three figures or more. */
export function inFigures(value: number): string {
  return value >= 100 ? String(Math.round(value)) : value.toPrecision(3);
}

/** The middle of the rates; the mean of the two in the middle where their number is even. */
export function median(rates: readonly number[]): number {
  const sorted = rates.toSorted((a, b) => a - b);
  const middle = sorted.slice((sorted.length - 1) >> 1, (sorted.length >> 1) + 1);
  return middle.reduce((sum, rate) => sum + rate, 0) / middle.length;
}
