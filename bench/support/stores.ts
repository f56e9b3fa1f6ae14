/** Stores of ended tasks, of several sizes, and the tables of what each costs. */
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { TaskState } from "#gen/core/v1/core_pb.js";
import { makeDirectory } from "./directory.ts";
import { type AskedProcess, runScript, startStint, storeIn } from "./processes.ts";
import { median, printRates } from "./rounds.ts";
import type { Row } from "./rows.ts";

const manyTasks = fileURLToPath(new URL("../../test/scale/many-tasks.ts", import.meta.url));
/** Of the ended tasks, and of so many that run. */
export const controller = "many";
export const active = 1_000;

/** The orders in which tasks are listed. */
export const lists = [
  { name: "by id", order: "ID", states: [] },
  { name: "newest first", order: "NEWEST", states: [] },
  { name: "by state", order: "ID", states: [TaskState.Completed] },
] as const;

/** What was measured of one store in one round, each under its name. */
export type Figures = Readonly<Record<string, number>>;

export interface Filled<T> {
  readonly size: number;
  readonly directory: string;
  readonly seen: T;
}

/** SCALE_SIZES: how many ended tasks the stores have. */
export function storeSizes(): number[] {
  return (process.env["SCALE_SIZES"] ?? "10000,100000").split(",").map(Number);
}

/** The id of the n-th ended task; the first is 1. */
export function endedId(n: number): string {
  return `task-${String(n).padStart(8, "0")}`;
}

/** Where the stores are: SCALE_DIRECTORY, which keeps them, or a directory that goes with the scope. */
export async function storesDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const kept = process.env["SCALE_DIRECTORY"];
  return kept === undefined ? makeDirectory() : { path: kept, async [Symbol.asyncDispose]() {} };
}

/** Makes a store of so many ended tasks, unless it is there, and has some run in it that have just begun. A server that `load` is connected to has it when `look` is called. */
export async function fillStore<T>(
  root: string,
  size: number,
  load: AskedProcess,
  look: () => Promise<T>,
): Promise<Filled<T>> {
  const directory = join(root, String(size));
  await mkdir(directory, { recursive: true });
  // One that was cut short is filled again.
  const filled = join(directory, "filled");
  if (!existsSync(filled)) {
    await runScript("--import", "tsx", manyTasks, "launch", storeIn(directory), "0", String(size));
    await writeFile(filled, "");
  }
  await using stint = await startStint(directory);
  await load.ask("connect", stint);
  await load.ask("launchActive", { controller, count: active });
  return { size, directory, seen: await look() };
}

/** Prints each figure of each store, and by how much it is more than that of the smallest. Returns these factors, of the largest. */
export function printGrowth(
  title: string,
  sizes: readonly number[],
  figures: ReadonlyMap<string, readonly Figures[]>,
): Map<string, number> {
  const [small = "", large = ""] = [Math.min(...sizes), Math.max(...sizes)].map(String);
  const of = (size: string, name: string): number[] => (figures.get(size) ?? []).map((each) => each[name] ?? NaN);
  const factor = (size: string, name: string): number => median(of(size, name)) / median(of(small, name));
  const names = Object.keys(figures.get(small)?.[0] ?? {});
  const lines = names.flatMap((name) =>
    sizes
      .map(String)
      .map((size) => ({ name: `${name}, ${size}`, remark: factor(size, name).toFixed(2), values: of(size, name) })),
  );
  const values = new Map(lines.map((line) => [line.name, line.values]));
  printRates({ title, unit: "", remark: `/ ${small}` }, lines, values);
  return new Map(names.map((name) => [name, factor(large, name)]));
}

/** The row of the figure that grows most from the smallest store to the largest, if there are two. */
export function mostGrown(what: string, sizes: readonly number[], factors: ReadonlyMap<string, number>): Row {
  const [[figure, factor] = ["", NaN]] = [...factors].sort(([, a], [, b]) => b - a);
  const hasTwo = sizes.length > 1;
  return {
    name: `${what}, ${Math.max(...sizes)} against ${Math.min(...sizes)}`,
    measured: hasTwo
      ? `at most ${factor.toFixed(2)} times (${figure})`
      : "one size was measured: SCALE_SIZES takes several",
    target: "within a factor of 2",
    met: hasTwo ? factor <= 2 : undefined,
  };
}
