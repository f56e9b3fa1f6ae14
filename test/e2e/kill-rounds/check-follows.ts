/** What clients saw that watched: every transition once and in order, over all kills, and every log entry. */
import type { Version } from "../../support/task-history.ts";
import type { FollowedEntry, Follower } from "./follower.ts";
import type { TaskTruth, Truth } from "./truth.ts";

export function followProblems(followers: readonly Follower[], truth: Truth): string[] {
  return followers.flatMap((follower) => {
    const task = truth.task(follower.taskId);
    if (task === undefined) return follower.messages.length > 0 ? [`the watched ${follower.taskId} is lost`] : [];
    return [...transitionProblems(follower, task), ...entryProblems(follower, task)];
  });
}

function transitionProblems({ taskId, messages, position }: Follower, { versions }: TaskTruth): string[] {
  const problems: string[] = [];
  const revisions = messages.flatMap(({ revision, line }) => (line === undefined ? [] : [revision]));
  if (revisions.some((revision, i) => i > 0 && revision <= (revisions[i - 1] ?? 0)))
    problems.push(`a watch of ${taskId} showed ${revisions.join()}`);
  const made = versions.filter(({ record }) => record.isTransition).map(({ revision }) => Number(revision));
  const transitions = new Set(made);
  const seen = revisions.filter((revision) => transitions.has(revision));
  // One that came after the launch began with the status as it was then.
  const due = made.filter((revision) => revision >= (revisions[0] ?? Infinity) && revision <= Number(position));
  if (seen.join() !== due.join())
    problems.push(`a watch of ${taskId} showed the transitions ${seen.join()}, not ${due.join()}`);
  return problems;
}

function entryProblems({ taskId, messages }: Follower, { entries, versions }: TaskTruth): string[] {
  const problems: string[] = [];
  const seen = messages.flatMap(({ logs }) => logs);
  let last: FollowedEntry | undefined;
  for (const entry of seen) {
    const { seq, msg } = entry;
    if (entries[seq - 1]?.msg !== msg) problems.push(`a watch of ${taskId} showed the entry ${seq} "${msg}"`);
    if (last !== undefined && seq <= last.seq)
      problems.push(`a watch of ${taskId} showed entry ${seq} after ${last.seq}`);
    for (let missed = (last?.seq ?? seq) + 1; missed < seq; missed += 1) {
      if (!isCleared(missed, versions)) problems.push(`a watch of ${taskId} did not show entry ${missed}`);
    }
    last = entry;
  }
  const shown = messages.findLast(({ line }) => line !== undefined)?.revision ?? 0;
  const at = versions.findLast(({ revision }) => Number(revision) <= shown);
  const due = Number(at?.record.logLastSeq ?? 0n);
  if (at !== undefined && at.status.logCount > 0n && last?.seq !== due)
    problems.push(`a watch of ${taskId} showed entries up to ${last?.seq}, at ${shown} there are ${due}`);
  return problems;
}

/** A launch took the entry away: then a watch that had not read it yet never will. */
function isCleared(seq: number, versions: readonly Version[]): boolean {
  return versions.some(
    ({ status, record }) => status.attempt === 1 && status.logCount === 0n && Number(record.logLastSeq) >= seq,
  );
}
