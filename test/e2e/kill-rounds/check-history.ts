/** What must be true of a task's history on disk, whatever anybody was told. */
import {
  isEnded,
  StateCanceled,
  StateCompleted,
  StateFailed,
  StatePending,
  StateRunning,
  stateName,
} from "../../../src/task/state.ts";
import { historyComplaints } from "../../support/task-history.ts";
import type { Version } from "../../support/task-history.ts";
import { type RunTruth, runsOf, type TaskTruth, type Truth } from "./truth.ts";

export function historyProblems(truth: Truth): string[] {
  const problems = [...truth.problems];
  for (const task of truth.tasks.values()) {
    problems.push(...historyComplaints(task.taskId, task.versions), ...logProblems(task), ...offerProblems(task));
    const runs = runsOf(task);
    if (new Set(runs.map(({ runId }) => runId)).size !== runs.length) problems.push(`${task.taskId}: a run came back`);
    for (const run of runs) problems.push(...runProblems(run));
    const last = task.versions.at(-1);
    if (last === undefined || !isEnded(last.status.state)) problems.push(`${task.taskId} has not ended`);
  }
  return problems;
}

/** Numbers without a gap over all runs, and each version says how far they have come. */
function logProblems({ taskId, entries, versions }: TaskTruth): string[] {
  const problems: string[] = [];
  const wrong = entries.findIndex(({ seq }, i) => seq !== i + 1);
  if (wrong >= 0) problems.push(`${taskId}: log entry ${wrong + 1} has the number ${entries[wrong]?.seq}`);
  let at = 0;
  for (const { revision, record } of versions) {
    while (at < entries.length && (entries[at]?.revision ?? 0) <= Number(revision)) at += 1;
    if (Number(record.logLastSeq) !== at)
      problems.push(`${taskId} at ${revision}: there are ${at} log entries, it says ${record.logLastSeq}`);
  }
  return problems;
}

/** Each attempt is offered once, in order, under a fence that rises, and none after the end of its run. */
function offerProblems({ taskId, offers, versions }: TaskTruth): string[] {
  const problems: string[] = [];
  const seen = new Set<string>();
  const ends = new Map<string, Version>();
  for (const version of versions) if (isEnded(version.status.state)) ends.set(version.status.runId, version);
  let before: TaskTruth["offers"][number] | undefined;
  for (const offer of offers) {
    const name = `${offer.run}/${offer.attempt}`;
    if (seen.has(name)) problems.push(`${taskId}: ${name} was offered twice`);
    seen.add(name);
    if (before !== undefined && offer.fence <= before.fence)
      problems.push(`${taskId}: the fence of ${name} is not higher`);
    if (before?.run === offer.run && offer.attempt <= before.attempt) problems.push(`${taskId}: ${name} came too late`);
    const end = ends.get(offer.run);
    if (end !== undefined && Number(end.revision) < offer.fence) problems.push(`${taskId}: ${name} came after its end`);
    before = offer;
  }
  return problems;
}

function runProblems({ task, runId, before, versions }: RunTruth): string[] {
  const problems: string[] = [];
  const complain = (problem: string): void => void problems.push(`${task.taskId}, run ${runId}: ${problem}`);
  const [first] = versions;
  const last = versions.at(-1);
  if (first === undefined || last === undefined) return problems;
  if (before !== undefined) for (const wrong of relaunchProblems(before, first)) complain(wrong);
  let progress = first.status.progress?.current ?? -1n;
  for (const { status, revision } of versions) {
    const now = status.progress?.current ?? -1n;
    if (now < progress) complain(`its progress fell from ${progress} to ${now} at ${revision}`);
    progress = now;
  }
  if (versions.some(({ status }) => status.cancel !== undefined) && !isEnded(last.status.state))
    complain("was to be canceled, and was left without an end");
  if (last.status.state === StateCanceled && last.status.cancel === undefined)
    complain("is Canceled, and nobody asked for it");
  if (last.status.state === StateCompleted && last.status.result === undefined && last.record.resultBytes === 0)
    complain("has no result");
  if (last.status.state === StateFailed && last.status.error === undefined) complain("has no error");
  return problems;
}

/** What a new run keeps, by the contract's table. */
function relaunchProblems(before: Version, after: Version): string[] {
  const problems: string[] = [];
  const from = before.status.state;
  const keepsLogs = from === StateRunning || from === StateFailed;
  const keepsProgress = from === StateRunning || from === StateCanceled;
  const expect = (what: string, is: unknown, wanted: unknown): void => {
    if (is !== wanted) problems.push(`launched from ${stateName(from)}, its ${what} is ${is}, not ${wanted}`);
  };
  expect("state", after.status.state, StatePending);
  expect("attempt", after.status.attempt, 1);
  expect("progress", after.status.progress?.current, keepsProgress ? before.status.progress?.current : undefined);
  const appended = from === StateFailed ? 1n : 0n;
  expect("log count", after.status.logCount, keepsLogs ? before.status.logCount + appended : 0n);
  expect("last log number", after.record.logLastSeq, before.record.logLastSeq + appended);
  const keptTransitions = keepsLogs ? before.status.transitions.length + Number(before.status.transitionsDropped) : 0;
  const transitions = after.status.transitions.length + Number(after.status.transitionsDropped);
  expect("number of transitions", transitions, keptTransitions + 1);
  expect("end time", after.status.endTime, undefined);
  expect("error", after.status.error, undefined);
  expect("cancel", after.status.cancel, undefined);
  expect("crash count", after.status.crashCount, 0);
  expect("time of creation", String(after.status.createTime?.nanos), String(before.status.createTime?.nanos));
  return problems;
}
