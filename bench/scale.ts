/**
 * What does it cost that tasks are stored? The server as a process of its own, on stores with few and many ended tasks and 1,000
 * that run; test/scale/many-tasks.ts makes the ended ones.
 *
 * open     from the start of the process until it serves; the tasks that run are resumed in it
 * memory   resident, 20 s later, when the server has walked over the keys of its store; and of its own, without the pages of files
 * pages    ListTasks, 100 tasks a page, the first and one in the last thousand, each the median of some calls
 * counts   ListControllers, which has how many tasks there are in each state
 *
 * SCALE_SIZES=10000,100000,1000000 and SCALE_ROUNDS change the dose: a million takes some minutes to make. SCALE_DIRECTORY has the stores
 * stay there, and those that are there measured.
 */
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { TaskState } from "#gen/core/v1/core_pb.js";
import { makeDirectory } from "./support/directory.ts";
import { type AskedProcess, runScript, startProcess, startStint, storeIn } from "./support/processes.ts";
import { dose, inFigures, inTurn, median, printRates } from "./support/rounds.ts";
import type { Row } from "./support/rows.ts";

const manyTasks = fileURLToPath(new URL("../test/scale/many-tasks.ts", import.meta.url));
const controller = "many";
const active = 1_000;
const pageSize = 100;
const settleMs = 20_000;
const lists = [
  { name: "by id", order: "ID", states: [] },
  { name: "newest first", order: "NEWEST", states: [] },
  { name: "by state", order: "ID", states: [TaskState.Completed] },
] as const;

/** What was measured of one store in one round, in ms or MB, each under its name. */
type Figures = Readonly<Record<string, number>>;

/** A store that has been filled, and the tokens of the last pages of its lists. */
interface Filled {
  readonly size: number;
  readonly directory: string;
  readonly tokens: Map<string, string>;
}

/** Prints what each store costs. */
export async function run(): Promise<Row[]> {
  const sizes = (process.env["SCALE_SIZES"] ?? "10000,100000").split(",").map(Number);
  await using scratch = await makeDirectory();
  const directory = process.env["SCALE_DIRECTORY"] ?? scratch.path;
  await using load = startProcess("list-load");
  const stores: Filled[] = [];
  for (const size of sizes) stores.push(await fill(join(directory, String(size)), size, load));
  const figures = await inTurn(
    stores.map((store) => ({ name: String(store.size), measure: () => measure(store, load) })),
    dose("SCALE_ROUNDS", 5),
  );
  return print(sizes, figures);
}

async function fill(directory: string, size: number, load: AskedProcess): Promise<Filled> {
  await mkdir(directory, { recursive: true });
  // One that was cut short is filled again.
  const filled = join(directory, "filled");
  if (!existsSync(filled)) {
    await runScript("--import", "tsx", manyTasks, "launch", storeIn(directory), "0", String(size));
    await writeFile(filled, "");
  }
  await using stint = await startStint(directory);
  await load.ask("connect", stint);
  await load.ask("launch", { controller, count: active });
  const tokens = new Map<string, string>();
  for (const list of lists) {
    const { pageToken } = await load.ask<{ pageToken: string }>("lastPage", { ...list, controller });
    tokens.set(list.name, pageToken);
  }
  return { size, directory, tokens };
}

async function measure({ directory, tokens }: Filled, load: AskedProcess): Promise<Figures> {
  const since = performance.now();
  await using stint = await startStint(directory);
  const figures: Record<string, number> = { "open (ms)": performance.now() - since };
  await new Promise((resolve) => setTimeout(resolve, settleMs));
  figures["memory (MB)"] = stint.rssBytes() / 1e6;
  figures["memory of its own (MB)"] = stint.ownBytes() / 1e6;
  await load.ask("connect", stint);
  for (const list of lists) {
    for (const [place, pageToken] of [
      ["first", ""],
      ["last", tokens.get(list.name)],
    ] as const) {
      const { ms } = await load.ask<{ ms: number }>("page", { ...list, controller, pageToken, pageSize });
      figures[`${place} page ${list.name} (ms)`] = ms;
    }
  }
  figures["counts (ms)"] = (await load.ask<{ ms: number }>("counts")).ms;
  return figures;
}

function print(sizes: readonly number[], figures: ReadonlyMap<string, readonly Figures[]>): Row[] {
  const [small = "", large = ""] = [Math.min(...sizes), Math.max(...sizes)].map(String);
  const of = (size: string, name: string): number[] => (figures.get(size) ?? []).map((each) => each[name] ?? NaN);
  const names = Object.keys(figures.get(small)?.[0] ?? {});
  const factors = new Map(names.map((name) => [name, median(of(large, name)) / median(of(small, name))]));
  const lines = names.flatMap((name) =>
    sizes.map(String).map((size) => {
      const factor = (median(of(size, name)) / median(of(small, name))).toFixed(2);
      return { name: `${name}, ${size}`, remark: factor, values: of(size, name) };
    }),
  );
  const values = new Map(lines.map((line) => [line.name, line.values]));
  const title = `scale: stores of ${sizes.join(", ")} ended tasks, and ${active} that run; the server is started anew in each round`;
  printRates({ title, unit: "", remark: `/ ${small}` }, lines, values);
  const [openMs, memoryMb] = [median(of(large, "open (ms)")), median(of(large, "memory (MB)"))];
  const [[slowest, factor] = ["", NaN]] = [...factors]
    .filter(([name]) => !/^(open|memory)/.test(name))
    .sort(([, a], [, b]) => b - a);
  // A store that is smaller than the target's can only show that it is missed.
  const metAt = (isKept: boolean): boolean | undefined => (isKept && Number(large) < 1e6 ? undefined : isKept);
  return [
    {
      name: `scale: open with ${large}`,
      measured: `${inFigures(openMs / 1_000)} s`,
      target: "under 10 s at 1000000",
      met: metAt(openMs < 10_000),
    },
    {
      name: `scale: memory with ${large}`,
      measured: `${inFigures(memoryMb)} MB, ${inFigures(median(of(large, "memory of its own (MB)")))} of its own`,
      target: "under 300 MB at 1000000",
      met: metAt(memoryMb < 300),
    },
    {
      name: `scale: pages and counts, ${large} against ${small}`,
      measured: `at most ${factor.toFixed(2)} times (${slowest})`,
      target: "within a factor of 2",
      met: factor <= 2,
    },
  ];
}
