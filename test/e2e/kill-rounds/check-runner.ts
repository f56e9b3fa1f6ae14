/** What the runners were told against what is on disk: nothing that was acknowledged to them is lost, and tasks ended as they left them. */
import {
  isEnded,
  StateCanceled,
  StateCompleted,
  StateFailed,
  stateName,
  StateRunning,
} from "../../../src/task/state.ts";
import { timestampMs } from "../../../src/task/task.ts";
import type { Version } from "../../support/task-history.ts";
import { controllers } from "./drivers.ts";
import type { Attempt, Ledger, Telling } from "./ledger.ts";
import { metadataOf, type RunTruth, runsOf, type TaskTruth, type Truth } from "./truth.ts";

/** `killedMs`: when each life of the server was ended, by the wall clock. */
export function runnerProblems(ledger: Ledger, truth: Truth, killedMs: readonly number[]): string[] {
  const problems = [...ledger.problems];
  for (const attempt of ledger.attempts) problems.push(...attemptProblems(attempt, truth));
  for (const task of truth.tasks.values()) {
    const runs = runsOf(task);
    if (task.controller === controllers.countdown) {
      for (const [i, run] of runs.entries()) problems.push(...countdownProblems(run, runs[i + 1]));
      continue;
    }
    problems.push(...entryProblems(task, ledger), ...tellingProblems(task, runs, ledger));
    for (const run of runs) problems.push(...endProblems(run, ledger, killedMs));
  }
  return problems;
}

function attemptProblems(attempt: Attempt, truth: Truth): string[] {
  const problems: string[] = [];
  const complain = (problem: string): void =>
    void problems.push(`${attempt.task}, run ${attempt.run}, attempt ${attempt.attempt}: ${problem}`);
  const task = truth.task(attempt.task);
  const offer = task?.offers.find(({ run, attempt: number }) => run === attempt.run && number === attempt.attempt);
  if (task === undefined || offer === undefined) complain("ran, and its offer is not on disk");
  else if (offer.fence !== attempt.fence) complain(`ran under fence ${attempt.fence}, and not ${offer.fence}`);
  const versions = (task?.versions ?? []).filter(
    ({ status }) => status.runId === attempt.run && status.attempt === attempt.attempt,
  );
  const started = versions.find(({ status }) => status.state === StateRunning);
  if (attempt.isRunning && started === undefined) complain("ran, and is not Running on disk");
  const kept = Number(started?.status.progress?.current ?? 0n);
  if (attempt.kept !== undefined && attempt.kept !== kept) complain(`went on from ${attempt.kept}, kept is ${kept}`);
  const reached = versions.reduce((most, { status }) => Math.max(most, Number(status.progress?.current ?? 0n)), 0);
  const acknowledged = Math.max(0, ...attempt.progress);
  if (acknowledged > reached) complain(`progress ${acknowledged} was acknowledged, and is ${reached}`);
  return problems;
}

/** Of each attempt the entries from the first on, once and in order, at least those that were acknowledged. */
function entryProblems({ taskId, entries }: TaskTruth, ledger: Ledger): string[] {
  const problems: string[] = [];
  const counts = new Map<string, number>();
  let last = "";
  for (const { msg, seq } of entries) {
    const [run = "", attempt = "", n] = msg.split("/");
    const name = `${run}/${attempt}`;
    if (n === undefined) {
      if (!msg.startsWith("restarting")) problems.push(`${taskId}: nobody wrote the entry "${msg}"`);
      continue;
    }
    if (name !== last && counts.has(name))
      problems.push(`${taskId}: entry ${seq} comes after those of another attempt`);
    const before = counts.get(name) ?? 0;
    if (Number(n) !== before + 1) problems.push(`${taskId}: entry ${n} of ${name} comes after entry ${before}`);
    counts.set(name, Number(n));
    last = name;
  }
  for (const attempt of ledger.attemptsOf(taskId)) {
    const name = `${attempt.run}/${attempt.attempt}`;
    const acknowledged = Math.max(0, ...attempt.logs);
    const there = counts.get(name) ?? 0;
    if (acknowledged > there)
      problems.push(`${taskId}: ${acknowledged} entries of ${name} were acknowledged, ${there} are there`);
    if (attempt.logs.some((n, i) => n !== i + 1))
      problems.push(`${taskId}: entries of ${name} were acknowledged out of order`);
  }
  return problems;
}

/** Each end was told, with its state, once a life, before the next run of the task began, and nothing else was. */
function tellingProblems({ taskId }: TaskTruth, runs: readonly RunTruth[], ledger: Ledger): string[] {
  const problems: string[] = [];
  const tellings = ledger.tellingsOf(taskId);
  for (const telling of tellings) {
    const state = runs.find(({ runId }) => runId === telling.run)?.versions.at(-1)?.status.state ?? 0;
    if (!isEnded(state) || state !== telling.state)
      problems.push(
        `${taskId}: it was told that ${telling.run} is ${stateName(telling.state)}; it is ${stateName(state)}`,
      );
  }
  const lives = tellings.map(({ run, life }) => `${run} ${life}`);
  if (new Set(lives).size !== lives.length) problems.push(`${taskId}: an end was told twice in one life`);
  for (const [i, { runId, versions }] of runs.entries()) {
    if (!isEnded(versions.at(-1)?.status.state ?? 0)) continue;
    const told: Telling | undefined = tellings.find(({ run }) => run === runId);
    if (told === undefined) {
      problems.push(`${taskId}: the end of ${runId} was never told`);
      continue;
    }
    const early = ledger.attemptsOf(taskId).find(({ run, begunUs }) => isFrom(runs, i, run) && begunUs < told.atUs);
    if (early !== undefined) problems.push(`${taskId}: ${early.run} began before the end of ${runId} was told`);
    const late = ledger.attemptsOf(taskId).find(({ run, begunUs }) => run === runId && begunUs > told.atUs);
    if (late !== undefined) problems.push(`${taskId}: ${runId} ran again after its end`);
  }
  return problems;
}

function isFrom(runs: readonly RunTruth[], i: number, runId: string): boolean {
  return runs.findIndex((run) => run.runId === runId) > i;
}

/** The end that is on disk is the one that the last attempt's outcome means. */
function endProblems(run: RunTruth, ledger: Ledger, killedMs: readonly number[]): string[] {
  const last = run.versions.at(-1);
  if (last === undefined || !isEnded(last.status.state)) return [];
  const { status } = last;
  if (status.error?.reason === "CRASH_LOOP") return crashLoopProblems(run, last);
  const attempt = ledger.attemptOf(run.runId, status.attempt);
  const where = `${run.task.taskId}, run ${run.runId}, attempt ${status.attempt}`;
  // A cancel that was stored when the process died ends the task at the next opening, however far the runner was.
  const isEndOfTheDead =
    status.state === StateCanceled &&
    (attempt === undefined || timestampMs(status.endTime) >= (killedMs[attempt.life] ?? Infinity));
  if (isEndOfTheDead) return [];
  const state = attempt?.out && endedBy(attempt.out);
  if (state === status.state) return [];
  const out = attempt?.out;
  return [`${where} is ${stateName(status.state)}; it was left as ${out?.how} in ${out?.phase} (${out?.why})`];
}

function endedBy({ phase, how, why }: NonNullable<Attempt["out"]>): number {
  if (how === "failed") return StateFailed;
  // Of an abort by a launch a cancel may have come after: then that counts.
  if (how === "aborted") return why === "" ? StateFailed : StateCanceled;
  // With onTaskPending alone the work is not done.
  return phase === "running" ? StateCompleted : StateCanceled;
}

/** It was alone in its last attempt, and made no progress in three. */
function crashLoopProblems({ task, runId, versions }: RunTruth, { status }: Version): string[] {
  const where = `${task.taskId}, run ${runId}, was parked`;
  const offer = task.offers.find(({ run, attempt }) => run === runId && attempt === status.attempt);
  const attempts = versions.filter((version) => version.status.attempt > status.attempt - 3);
  const progress = new Set(attempts.map((version) => version.status.progress?.current));
  return [
    ...(offer?.alone === true ? [] : [`${where}, and was not alone`]),
    ...(status.crashCount >= 3 ? [] : [`${where} after ${status.crashCount} deaths`]),
    ...(progress.size === 1 ? [] : [`${where}, and had made progress`]),
  ];
}

/** Its entries count the steps, from the kept progress on; only the last step before a kill may be there twice. */
function countdownProblems({ task, runId, versions }: RunTruth, next: RunTruth | undefined): string[] {
  const problems: string[] = [];
  const [first] = versions;
  const last = versions.at(-1);
  if (first === undefined || last === undefined) return [];
  const until = Number(next?.versions[0]?.revision ?? Infinity);
  const entries = task.entries.filter(({ revision }) => revision > Number(first.revision) && revision < until);
  let step = Number(first.status.progress?.current ?? 0n);
  let repeated = 0;
  for (const { msg } of entries) {
    const now = Number(/^step (\d+) of /.exec(msg)?.[1]);
    if (now === step) repeated += 1;
    else if (now !== step + 1) problems.push(`${task.taskId}, run ${runId}: "${msg}" comes after step ${step}`);
    step = now;
  }
  if (repeated >= last.status.attempt) problems.push(`${task.taskId}, run ${runId}: ${repeated} steps are there twice`);
  const { limit = 10 } = JSON.parse(metadataOf(task, first) || "{}") as { limit?: number };
  if (last.status.state === StateCompleted && last.status.result !== `{"counted":${limit}}`)
    problems.push(`${task.taskId}, run ${runId}: its result is ${last.status.result}, and its limit ${limit}`);
  return problems;
}
