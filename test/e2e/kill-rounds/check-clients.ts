/** What clients were told against what is on disk: no acknowledged call is lost, none had its effect twice, nobody was shown what is not there. */
import { Code } from "@connectrpc/connect";
import { LaunchOutcome } from "#gen/stint/v1/controller_pb.js";
import { isEnded, StateRunning } from "../../../src/task/state.ts";
import type { Version } from "../../support/task-history.ts";
import type { Ledger } from "./ledger.ts";
import { type Cancel, type Launch, lineOf, type Shown, type Told } from "./told.ts";
import { metadataOf, type RunTruth, runsOf, type TaskTruth, type Truth } from "./truth.ts";

export function clientProblems(told: Told, truth: Truth, ledger: Ledger): string[] {
  const runs = [...truth.tasks.values()].flatMap((task) => runsOf(task));
  return [
    ...told.problems,
    ...launchProblems(told, truth, runs),
    ...cancelProblems(told, truth, ledger),
    ...shownProblems(told.shown, truth),
  ];
}

function launchProblems(told: Told, truth: Truth, runs: readonly RunTruth[]): string[] {
  const problems: string[] = [];
  const byNonce = new Map<string, RunTruth>();
  const launches = new Map(told.launches.map((launch) => [launch.nonce, launch]));
  for (const run of runs) {
    const nonce = run.versions[0]?.status.labels["nonce"] ?? "";
    const launch = launches.get(nonce);
    if (byNonce.has(nonce)) problems.push(`${nonce} made two runs: ${byNonce.get(nonce)?.runId} and ${run.runId}`);
    byNonce.set(nonce, run);
    if (launch === undefined) problems.push(`nobody launched run ${run.runId} of ${run.task.taskId} (${nonce})`);
    else problems.push(...runOfLaunchProblems(launch, run));
  }
  const calls = groupBy([...told.launches, ...told.cancels], ({ taskId }) => taskId);
  for (const launch of told.launches) {
    const { answer, nonce } = launch;
    const run = byNonce.get(nonce);
    if (answer === undefined || run !== undefined) continue;
    if (!truth.tasks.has(answer.taskId)) problems.push(`${nonce}: task ${answer.taskId} is lost`);
    else if (answer.outcome === LaunchOutcome.USED_EXISTING) {
      if (!runs.some(({ runId }) => runId === answer.runId) && !isOfSuperseded(answer.runId, told, calls))
        problems.push(`${nonce}: there was no ${answer.runId} to use`);
    } else if (!isSuperseded(launch, calls.get(answer.taskId) ?? [])) {
      problems.push(`${nonce}: the launch of run ${answer.runId} of ${answer.taskId} was acknowledged, and is lost`);
    }
  }
  return problems;
}

/** The run that a launch made is the one that it was told of, with what it asked for. */
function runOfLaunchProblems({ nonce, answer, refusal, tries, metadata }: Launch, run: RunTruth): string[] {
  const problems: string[] = [];
  const { task, runId, before, versions } = run;
  const [first] = versions;
  if (answer !== undefined && (answer.runId !== runId || answer.taskId !== task.taskId))
    problems.push(`${nonce} was told of run ${answer.runId} of ${answer.taskId}, and made ${runId} of ${task.taskId}`);
  if (answer?.outcome === LaunchOutcome.USED_EXISTING)
    problems.push(`${nonce} was to use what is there, and made ${runId}`);
  // Repeated after a lost answer it may find what it has made itself.
  const isExcused = refusal === Code.AlreadyExists && tries > 1;
  if (refusal !== undefined && !isExcused) problems.push(`${nonce} was refused, and made ${runId}`);
  const kept = before?.status.state === StateRunning ? metadataOf(task, before) : "";
  if (first !== undefined && metadataOf(task, first) !== (metadata ?? kept))
    problems.push(`${nonce}: run ${runId} has other metadata than it was launched with`);
  return problems;
}

/** A launch that waited for the run before it, and whose place a later launch took, or which a later cancel took away. */
function isSuperseded(launch: Launch, calls: ReadonlyArray<Launch | Cancel>): boolean {
  if (launch.answer?.outcome !== LaunchOutcome.RESTARTED) return false;
  return calls.some((other) => other !== launch && other.endedUs >= launch.begunUs && mayReplace(other));
}

/** What was used was still waiting, and was superseded then. */
function isOfSuperseded(
  runId: string,
  told: Told,
  calls: ReadonlyMap<string, ReadonlyArray<Launch | Cancel>>,
): boolean {
  const launch = told.launches.find(
    ({ answer }) => answer?.runId === runId && answer.outcome === LaunchOutcome.RESTARTED,
  );
  return launch !== undefined && isSuperseded(launch, calls.get(launch.taskId) ?? []);
}

function mayReplace(call: Launch | Cancel): boolean {
  if (call.refusal !== undefined) return false;
  return call.kind === "cancel" || call.answer?.outcome !== LaunchOutcome.USED_EXISTING;
}

/** A run whose cancel was acknowledged ends as it is, is not begun again, and takes the launch that waited for it along. */
function cancelProblems(told: Told, truth: Truth, ledger: Ledger): string[] {
  const problems: string[] = [];
  const attempts = groupBy(ledger.attempts, ({ run }) => run);
  for (const { nonce, taskId, answer, isAlone, endedUs, begunUs } of told.cancels) {
    if (answer === undefined || !isAlone) continue;
    const runs = runsOf(truth.task(taskId) ?? noTask);
    const run = runs.find(({ runId }) => runId === answer.runId);
    if (run === undefined) {
      problems.push(`${nonce}: the canceled run ${answer.runId} of ${taskId} is lost`);
      continue;
    }
    const last = run.versions.at(-1);
    if (last === undefined || !isEnded(last.status.state)) problems.push(`${nonce}: ${taskId} did not end`);
    if (!wasAskedFor(run, nonce, told)) problems.push(`${nonce}: the cancel of ${taskId} left no trace`);
    const later = (attempts.get(answer.runId) ?? []).find((attempt) => attempt.begunUs > endedUs);
    if (later !== undefined) problems.push(`${nonce}: attempt ${later.attempt} of ${taskId} began after its cancel`);
    const waited = told.launches.findLast(
      (launch) => launch.taskId === taskId && launch.endedUs <= begunUs && isNew(launch),
    );
    const waitedFor = waited?.answer?.runId;
    if (waitedFor !== answer.runId && runs.some(({ runId }) => runId === waitedFor))
      problems.push(`${nonce}: run ${waitedFor} of ${taskId} came in spite of its cancel`);
  }
  return problems;
}

function isNew({ answer }: Launch): boolean {
  return answer !== undefined && answer.outcome !== LaunchOutcome.USED_EXISTING;
}

const noTask: TaskTruth = { controller: "", taskId: "", versions: [], entries: [], offers: [], metadata: [] };

/** By this cancel or by another of the same task, or it had ended before. */
function wasAskedFor({ versions, task }: RunTruth, nonce: string, told: Told): boolean {
  const last = versions.at(-1);
  const asked = last?.status.cancel?.reason;
  if (asked === nonce) return true;
  if (asked === undefined) return last !== undefined && isEnded(last.status.state);
  return told.cancels.some((cancel) => cancel.taskId === task.taskId && cancel.nonce === asked);
}

/** Everything that anybody was shown is a version that is on disk. */
function shownProblems(shown: readonly Shown[], truth: Truth): string[] {
  const problems: string[] = [];
  for (const [taskId, ofTask] of groupBy(shown, (each) => each.taskId)) {
    const versions = new Map<bigint, Version>();
    for (const version of truth.task(taskId)?.versions ?? []) versions.set(version.revision, version);
    for (const { by, revision, line } of ofTask) {
      const version = versions.get(revision);
      const is = version && lineOf(version.status);
      if (is !== line) problems.push(`${by} showed ${taskId} at ${revision} as ${line}; it is ${is}`);
    }
  }
  return problems;
}

function groupBy<T>(from: readonly T[], keyOf: (each: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const each of from) {
    const group = groups.get(keyOf(each));
    if (group === undefined) groups.set(keyOf(each), [each]);
    else group.push(each);
  }
  return groups;
}
