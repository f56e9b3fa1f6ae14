/**
 * Does a call cost more where more tasks are stored? The stores of bench/scale.ts, and the server as a process of its own, started anew in each round, so
 * that nothing of what is asked for is in its caches; what the system has of the files stays.
 *
 * first page     the first page of 100 tasks that is read after the start, from a random place
 * pages          ListTasks, 100 tasks from random places, in each of the three orders
 * read           GetTaskStatus of random ended tasks, each once
 * launch, new    LaunchTask with new ids; the server runs the tasks, which do nothing, to their end
 * launch, ended  the same with ids of tasks that have ended long ago
 * launch, again  and with the same once more, which are in the caches now
 *
 * Each has the time that one took, so many in flight, and the processor time of the server, with all that it does behind the calls: until it has come to rest.
 *
 * SCALE_SIZES, SCALE_ROUNDS and SCALE_DIRECTORY are those of bench/scale.ts, GROWTH_CALLS changes how many calls are made.
 */
import { type AskedProcess, startProcess, startStint, type StintProcess } from "./support/processes.ts";
import { dose, inTurn } from "./support/rounds.ts";
import type { Row } from "./support/rows.ts";
import {
  controller,
  endedId,
  type Figures,
  type Filled,
  fillStore,
  lists,
  mostGrown,
  printGrowth,
  storesDirectory,
  storeSizes,
} from "./support/stores.ts";

const inFlight = { pages: 4, calls: 64 };
const pageSize = 100;
const callsForEachPage = 20;
const restMs = 500;
const restingMs = 50;

/** Prints what each call costs in each store. */
export async function run(): Promise<Row[]> {
  const sizes = storeSizes();
  const calls = dose("GROWTH_CALLS", 3_000);
  await using directory = await storesDirectory();
  await using load = startProcess("list-load");
  const stores: Filled<void>[] = [];
  for (const size of sizes) stores.push(await fillStore(directory.path, size, load, async () => {}));
  const figures = await inTurn(
    stores.map((store) => ({ name: String(store.size), measure: () => measure(store, load, calls) })),
    dose("SCALE_ROUNDS", 5),
  );
  const title = `growth: ${calls} calls a round on stores of ${sizes.join(", ")} ended tasks; the server is started anew in each round`;
  const factors = printGrowth(title, sizes, figures);
  // Times are of the machine, and of what else it does, as much as of the server.
  const ofProcessor = new Map([...factors].filter(([each]) => each.endsWith(processor)));
  return [mostGrown("growth: a call", sizes, ofProcessor)];
}

const processor = "processor µs";

async function measure({ size, directory }: Filled<void>, load: AskedProcess, calls: number): Promise<Figures> {
  await using stint = await startStint(directory);
  await atRest(stint);
  await load.ask("connect", stint);
  const figures: Record<string, number> = {};
  const page = { controller, pageSize, inFlight: inFlight.pages };
  const first = await load.ask<{ ms: number }>("pages", { ...page, ...lists[0], taskIds: anyIds(1, size) });
  figures["first page, ms"] = first.ms;

  const measureCalls = async (name: string, verb: string, count: number, asked: object): Promise<void> => {
    const before = stint.processorMs();
    const { ms } = await load.ask<{ ms: number }>(verb, asked);
    await atRest(stint);
    figures[`${name}, µs`] = ms * 1_000;
    figures[`${name}, ${processor}`] = ((stint.processorMs() - before) * 1_000) / count;
  };
  const pages = Math.ceil(calls / callsForEachPage);
  for (const list of lists) {
    await measureCalls(`pages ${list.name}`, "pages", pages, { ...page, ...list, taskIds: anyIds(pages, size) });
  }
  const asked = { controller, inFlight: inFlight.calls };
  const ended = anyIds(Math.min(2 * calls, size), size);
  const [read, again] = [ended.slice(0, ended.length / 2), ended.slice(ended.length / 2)];
  const fresh = Array.from({ length: calls }, (_, i) => `new-${i}`);
  await measureCalls("read", "get", read.length, { ...asked, taskIds: read });
  await measureCalls("launch, new", "launch", fresh.length, { ...asked, taskIds: fresh });
  await measureCalls("launch, ended", "launch", again.length, { ...asked, taskIds: again });
  await measureCalls("launch, again", "launch", again.length, { ...asked, taskIds: again });
  // The next round is to find the store as this one did.
  await load.ask("remove", { ...asked, taskIds: fresh });
  return figures;
}

/** Resolves when the server hardly does anything, nor would: what it puts off is put off for a second at most. */
async function atRest(stint: StintProcess): Promise<void> {
  for (let quiet = 0; quiet < 4; ) {
    const before = stint.busyMs();
    await new Promise((resolve) => setTimeout(resolve, restMs));
    quiet = stint.busyMs() - before <= restingMs ? quiet + 1 : 0;
  }
}

/** So many of the ended tasks. */
function anyIds(count: number, size: number): string[] {
  const ids = new Set<string>();
  while (ids.size < count) ids.add(endedId(1 + Math.floor(Math.random() * size)));
  return [...ids];
}
