/**
 * What does the store cost over LevelDB itself? The same changes, synced, with
 * the same number in flight, written to bare `level` in the layouts that come into question and through the
 * store's own commit(). A task is four commits one after the other; each changes one value of 200 bytes.
 *
 * entries      a value and an index entry for each change, all of a group in one batch
 * values       the same without the index entries
 * journal      all changes of a group in one entry: the most that can be had
 * journal+     the journal, and behind it the newest values and index entries, unsynced: what the store does
 * protobuf     "journal+" with the statuses of a task in place of those values, each encoded by the protobuf library: what the libraries that are given leave to
 *              a lifecycle in one process (bench/lifecycle.ts) at best
 * store        commit() of one put, conditional on the revision before
 * store+index  the same, moving one index entry with it
 *
 * The columns before the last are what each reaches of "journal+" and of "protobuf".
 *
 * CEILING_TASKS, CEILING_ROUNDS and CEILING_IN_FLIGHT change the dose.
 */
import { type Layout, openBare, stateKey, stepsOfTask, subjectOf, value } from "./support/bare-level.ts";
import { openStore } from "./support/product.ts";
import { type Contender, dose, inFigures, measureInTurn, median, printRates, type Subject } from "./support/rounds.ts";
import type { Row } from "./support/rows.ts";

const noValue = new Uint8Array(0);

const contenders: readonly Contender[] = [
  bare("entries", { journal: false, index: true }),
  bare("values", { journal: false, index: false }),
  bare("journal", { journal: true, index: false, behind: false }),
  bare("journal+", { journal: true, index: true, behind: true }),
  bare("protobuf", { journal: true, index: true, behind: true, protobuf: true }),
  { name: "store", synced: "each commit", open: (directory) => openStint(directory, false) },
  { name: "store+index", synced: "each commit", open: (directory) => openStint(directory, true) },
];

/** Prints tasks a second of each layout: the median of the rounds, and their spread. */
export async function run(): Promise<Row[]> {
  const turns = {
    tasks: dose("CEILING_TASKS", 8_000),
    rounds: dose("CEILING_ROUNDS", 5),
    inFlight: dose("CEILING_IN_FLIGHT", 64),
  };
  const rates = await measureInTurn(contenders, turns);
  const title = `ceiling: ${turns.tasks} tasks a round, ${turns.inFlight} in flight, ${stepsOfTask} commits a task, one after the other`;
  const lines = contenders.map(({ name, synced }) => ({ name, remark: synced }));
  printRates({ title, unit: "tasks/s", remark: "on disk" }, lines, rates, ["journal+", "protobuf"]);
  return lines.map(({ name }) => ({
    name: `ceiling: ${name}`,
    measured: `${inFigures(median(rates.get(name) ?? []))} tasks/s`,
    target: "",
  }));
}

function bare(name: string, layout: Layout): Contender {
  return { name, synced: "each commit", open: (directory) => openBare(directory, layout) };
}

async function openStint(directory: string, index: boolean): Promise<Subject> {
  const store = await openStore(`level:${directory}`);
  const revisions = new Map<number, bigint>();
  return subjectOf({
    async step(task, step) {
      const key = `/tasks/bench/task-${task}`;
      const revision = await store.commit(
        [
          { type: "put", key, value },
          ...(index && step > 0 ? [{ type: "unindex", key: stateKey(task, step - 1) } as const] : []),
          ...(index ? [{ type: "index", key: stateKey(task, step), value: noValue } as const] : []),
        ],
        [{ key, revision: revisions.get(task) ?? 0n }],
      );
      if (step === stepsOfTask - 1) revisions.delete(task);
      else revisions.set(task, revision);
    },
    close: () => store.close(),
  });
}
