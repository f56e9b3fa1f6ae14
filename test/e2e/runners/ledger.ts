/**
 * The runner of kill-rounds.test.ts: does steps, and keeps beside the task, in the file STINT_LEDGER, a ledger of what
 * it was told. A line is written in one piece, right after what it tells of and before anything else is done, so the file
 * knows what was acknowledged also when the process is killed in the next instant.
 *
 * Metadata: see LedgerSettings. The n-th log entry of an attempt is "RUN/ATTEMPT/N".
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ActiveTask, TaskContext, TaskRunner } from "../../../src/controller/task-runner.ts";
import {
  type DeathMoment,
  type LedgerFact,
  type LedgerLine,
  type LedgerSettings,
  nowUs,
  type Outcome,
  type Phase,
} from "../kill-rounds/ledger-line.ts";

const defaults: LedgerSettings = { steps: 3, pauseMs: 1, pendingMs: 0, tellMs: 0, onAbort: "throw", end: "return" };
const path = process.env["STINT_LEDGER"] ?? "";
const ledger = openSync(path, "a");
/** The life of the server that is left to finish is not ended by a task of an earlier one. */
const isImmortal = process.env["STINT_LEDGER_IMMORTAL"] !== undefined;

/** One attempt of a run, or the telling of its end. */
class Attempt {
  readonly #task: ActiveTask;
  readonly #context: TaskContext;
  #entries = 0;

  constructor(task: ActiveTask, context: TaskContext) {
    this.#task = task;
    this.#context = context;
  }

  note(fact: LedgerFact): void {
    const { runId, attempt, fence } = this.#context;
    const where = { atUs: nowUs(), task: this.#task.taskId, run: runId, attempt, fence: Number(fence) };
    const line: LedgerLine = { ...where, ...fact };
    writeSync(ledger, `${JSON.stringify(line)}\n`);
  }

  async settings(): Promise<LedgerSettings> {
    return { ...defaults, ...((await this.#task.loadTaskMetadata()) as Partial<LedgerSettings> | undefined) };
  }

  /** Does the work of a phase; how it is left is on the ledger before the controller learns of it. */
  async phase<T>(phase: Phase, work: (settings: LedgerSettings) => Promise<T>): Promise<T> {
    const { signal } = this.#context;
    // Before anything is waited for: it is the call that counts.
    this.note({ event: "begin", phase });
    let how: Outcome = "returned";
    try {
      return await work(await this.settings());
    } catch (error) {
      how = signal.aborted && (error as Error).name === "AbortError" ? "aborted" : "failed";
      throw error;
    } finally {
      const { kind = "" } = (signal.reason ?? {}) as { kind?: string };
      this.note({ event: "out", phase, how, why: kind });
    }
  }

  /** The steps from the kept progress on. */
  async work(settings: LedgerSettings): Promise<unknown> {
    const { signal } = this.#context;
    const kept = Number((await this.#task.getProgress())?.current ?? 0n);
    this.note({ event: "kept", current: kept });
    let lateSteps = settings.onAbort === "late" ? 3 : 0;
    for (let current = kept + 1; current <= settings.steps; current += 1) {
      // Woken by an abort.
      await sleep(settings.pauseMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) {
        if (lateSteps === 0) return leave(signal, settings, current - 1);
        lateSteps -= 1;
      }
      await this.#step(current, settings);
    }
    if (settings.end === "fail") throw new Error("told to fail");
    return resultOf(settings, settings.steps);
  }

  /** Log entries and the progress, after each other or side by side. */
  async #step(current: number, settings: LedgerSettings): Promise<void> {
    const issued: Promise<void>[] = [];
    for (let i = current % 3; i >= 0; i -= 1) {
      const logged = this.#log();
      if (current % 2 === 0) issued.push(logged);
      else await logged;
    }
    issued.push(this.#progress(current, settings));
    dieOnce("issued", this.#context, settings);
    await Promise.all(issued);
    dieOnce("acknowledged", this.#context, settings);
  }

  async #log(): Promise<void> {
    this.#entries += 1;
    const n = this.#entries;
    await this.#task.addLogEntry("info", `${this.#context.runId}/${this.#context.attempt}/${n}`);
    this.note({ event: "log", n });
  }

  async #progress(current: number, { steps }: LedgerSettings): Promise<void> {
    await this.#task.setProgress({ current, total: Math.max(current, steps) });
    this.note({ event: "progress", current });
  }
}

function leave(signal: AbortSignal, settings: LedgerSettings, done: number): unknown {
  if (settings.onAbort === "return") return resultOf(settings, done);
  throw settings.onAbort === "fail" ? new Error("told to fail when stopped") : signal.reason;
}

function resultOf({ resultBytes = 0 }: LedgerSettings, done: number): unknown {
  return resultBytes > 0 ? { done, more: "r".repeat(resultBytes) } : { done };
}

/** Kills this process at its moment, unless the run has done that before. */
function dieOnce(moment: DeathMoment, { runId }: TaskContext, settings: LedgerSettings): void {
  if (settings.dieAt !== moment || isImmortal) return;
  try {
    closeSync(openSync(join(dirname(path), `died-${runId}`), "wx"));
  } catch {
    return;
  }
  const { dieAfterMs = -1 } = settings;
  const die = (): void => void process.kill(process.pid, "SIGKILL");
  if (dieAfterMs < 0) die();
  else if (dieAfterMs === 0) setImmediate(die);
  else setTimeout(die, dieAfterMs);
}

/** What the server loads. */
export const runner: TaskRunner = {
  onTaskPending(task, context) {
    return new Attempt(task, context).phase("pending", async (settings) => {
      dieOnce("pending", context, settings);
      if (settings.pendingMs > 0) await sleep(settings.pendingMs, undefined, { signal: context.signal });
    });
  },
  onTaskRunning(task, context) {
    const attempt = new Attempt(task, context);
    return attempt.phase("running", async (settings) => {
      dieOnce("running", context, settings);
      const result = await attempt.work(settings);
      dieOnce("returning", context, settings);
      return result;
    });
  },
  async onTaskCompleted(task, state, context) {
    const attempt = new Attempt(task, context);
    const settings = await attempt.settings();
    dieOnce("told", context, settings);
    if (settings.tellMs > 0) await sleep(settings.tellMs);
    attempt.note({ event: "told", state });
  },
};
