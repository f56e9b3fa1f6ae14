/** Reads what the runner wrote down, life after life of the server, and gathers it by attempt. */
import { readFile } from "node:fs/promises";
import type { LedgerLine, Outcome, Phase } from "./ledger-line.ts";

/** One attempt of a run, as its runner knows it. */
export interface Attempt {
  readonly task: string;
  readonly run: string;
  readonly attempt: number;
  readonly fence: number;
  /** The life of the server that it was in. */
  readonly life: number;
  readonly begunUs: number;
  /** The progress that it went on from; undefined while it did not ask. */
  kept: number | undefined;
  /** Acknowledged, in this order. */
  readonly progress: number[];
  readonly logs: number[];
  /** How it was left last; undefined: the process died in it. */
  out: { readonly phase: Phase; readonly how: Outcome; readonly why: string } | undefined;
  isRunning: boolean;
}

export interface Telling {
  readonly task: string;
  readonly run: string;
  readonly state: number;
  readonly life: number;
  readonly atUs: number;
}

export class Ledger {
  /** In the order in which they were begun. */
  readonly attempts: Attempt[] = [];
  readonly tellings: Telling[] = [];
  /** What the order of the lines alone says must not be. */
  readonly problems: string[] = [];
  /** How many attempts the end of each life cut off. */
  readonly cutOff: number[] = [];
  readonly #byKey = new Map<string, Attempt>();
  readonly #byTask = new Map<string, { readonly attempts: Attempt[]; readonly tellings: Telling[] }>();

  /** The lines of one life, all of them. */
  takeLife(life: number, lines: readonly LedgerLine[]): void {
    const open = new Map<string, Attempt>();
    for (const line of lines) this.#take(life, line, open);
    this.cutOff[life] = open.size;
  }

  attemptsOf(task: string): readonly Attempt[] {
    return this.#byTask.get(task)?.attempts ?? [];
  }

  tellingsOf(task: string): readonly Telling[] {
    return this.#byTask.get(task)?.tellings ?? [];
  }

  attemptOf(run: string, attempt: number): Attempt | undefined {
    return this.#byKey.get(`${run}/${attempt}`);
  }

  #begin(life: number, { task, run, attempt, fence, atUs }: LedgerLine): Attempt {
    const begun: Attempt = {
      ...{ task, run, attempt, fence, life, begunUs: atUs },
      ...{ kept: undefined, progress: [], logs: [], out: undefined, isRunning: false },
    };
    this.attempts.push(begun);
    this.#byKey.set(`${run}/${attempt}`, begun);
    this.#ofTask(task).attempts.push(begun);
    return begun;
  }

  #tell(telling: Telling): void {
    this.tellings.push(telling);
    this.#ofTask(telling.task).tellings.push(telling);
  }

  #ofTask(task: string): { readonly attempts: Attempt[]; readonly tellings: Telling[] } {
    const known = this.#byTask.get(task);
    if (known !== undefined) return known;
    const made = { attempts: [], tellings: [] };
    this.#byTask.set(task, made);
    return made;
  }

  #take(life: number, line: LedgerLine, open: Map<string, Attempt>): void {
    const { task, run, atUs } = line;
    const key = `${run}/${line.attempt}`;
    const complain = (problem: string): void => void this.problems.push(`${task} ${key}: ${problem}`);
    if (line.event === "told") {
      return this.#tell({ task, run, state: line.state, life, atUs });
    }
    if (line.event === "begin" && line.phase === "pending") {
      if (this.#byKey.has(key)) return complain("was begun twice");
      // One that has left onTaskPending may be over without another word.
      const other = open.get(task);
      if (other !== undefined && other.out === undefined) complain(`was begun while ${other.run} is not over`);
      open.set(task, this.#begin(life, line));
      return;
    }
    const attempt = this.#byKey.get(key);
    if (attempt === undefined || attempt.life !== life) return complain(`${line.event} without a beginning`);
    if (attempt !== open.get(task)) complain(`${line.event} after it was over`);
    if (line.fence !== attempt.fence) complain("its fence has changed");
    switch (line.event) {
      case "begin":
        if (attempt.isRunning) complain("ran twice");
        attempt.isRunning = true;
        attempt.out = undefined;
        return;
      case "kept":
        attempt.kept = line.current;
        return;
      case "progress":
        attempt.progress.push(line.current);
        return;
      case "log":
        attempt.logs.push(line.n);
        return;
      default:
        attempt.out = { phase: line.phase, how: line.how, why: line.why };
        // After onTaskPending it may go on.
        if (line.phase === "running" || line.how !== "returned") open.delete(task);
    }
  }
}

/** The lines of the file of a life; none where it has none. The last one may have been cut by the kill. */
export async function readLedgerLines(file: string): Promise<LedgerLine[]> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  const lines = text.split("\n");
  lines.pop();
  return lines.map((line) => JSON.parse(line) as LedgerLine);
}
