/** What lies in a store of a task: all its versions, and what a watch of it must therefore show. */
import type { LogEntry } from "#gen/core/v1/core_pb.js";
import { decodeLogChunk, decodeTask, type StoredTask } from "../../src/store/codec.ts";
import { logPrefix, taskKey } from "../../src/store/keys.ts";
import type { Store } from "../../src/store/store.ts";
import { isActive, isEnded, stateName, StateFailed, StatePending, transitionTable } from "../../src/task/state.ts";

export interface Version extends StoredTask {
  readonly revision: bigint;
}

/** Every version of the task, oldest first; undefined is a deletion. */
export async function readVersions(
  store: Store,
  controller: string,
  taskId: string,
): Promise<Array<{ revision: bigint; version: Version | undefined }>> {
  const versions: Array<{ revision: bigint; version: Version | undefined }> = [];
  const key = taskKey(controller, taskId);
  const last = await store.commit([{ type: "put", key: taskKey("marker", "marker"), value: new Uint8Array(0) }]);
  for await (const events of store.watch({ prefix: "/tasks/", after: 0n })) {
    for (const event of events) {
      if (event.key !== key) continue;
      const { revision } = event;
      versions.push({
        revision,
        version: event.type === "delete" ? undefined : { ...decodeTask(event.value), revision },
      });
    }
    if ((events.at(-1)?.revision ?? 0n) >= last) break;
  }
  return versions;
}

/** The transitions after `since` up to the first end: "12 Running". */
export function transitionsAfter(versions: ReadonlyArray<{ version: Version | undefined }>, since: bigint): string[] {
  const lines: string[] = [];
  for (const { version } of versions) {
    if (version === undefined || version.revision <= since || !version.record.isTransition) continue;
    lines.push(`${version.revision} ${stateName(version.status.state)}`);
    if (isEnded(version.status.state)) break;
  }
  return lines;
}

/** The log entries of a generation that are in the store. */
export async function readLog(
  store: Store,
  controller: string,
  taskId: string,
  generation: string,
): Promise<LogEntry[]> {
  const chunks = await store.scan({ prefix: logPrefix(controller, taskId, generation), limit: 100_000 });
  return chunks.flatMap(({ value }) => decodeLogChunk(value));
}

/** Only legal transitions, a chain that names them, attempts that rise, and no change of a run that has ended. */
export function historyComplaints(taskId: string, versions: ReadonlyArray<Version | undefined>): string[] {
  const check = new HistoryCheck(taskId);
  return versions.flatMap((version) => check.next(version));
}

/** The same, one version after the other. */
export class HistoryCheck {
  readonly #taskId: string;
  readonly #over = new Set<string>();
  #before: Version | undefined;
  #lastTransition = 0n;

  constructor(taskId: string) {
    this.#taskId = taskId;
  }

  /** What is wrong with the next version; undefined is a deletion. */
  next(version: Version | undefined): string[] {
    const before = this.#before;
    this.#before = version;
    if (version !== undefined) return this.#compare(before, version);
    this.#lastTransition = 0n;
    return before !== undefined && isActive(before.status.state) ? [`${this.#taskId} was deleted while active`] : [];
  }

  #compare(before: Version | undefined, version: Version): string[] {
    const complaints: string[] = [];
    const { status, record, revision } = version;
    const at = `${this.#taskId} at ${revision}`;
    if (this.#over.has(status.runId) && !isOnlyCount(before, version))
      complaints.push(`${at}: ${stateName(status.state)} of a run that was over`);
    if (status.transitions.at(-1)?.state !== status.state)
      complaints.push(`${at}: the last transition is not the state`);
    if (record.previousTransitionRevision !== this.#lastTransition)
      complaints.push(`${at}: the chain names ${record.previousTransitionRevision}, not ${this.#lastTransition}`);
    const isNewRun = before?.status.runId !== status.runId;
    if (isNewRun && before !== undefined) this.#over.add(before.status.runId);
    if (isNewRun ? status.state !== StatePending || status.attempt !== 1 : !isLegal(before, version)) {
      complaints.push(
        `${at}: ${stateName(before?.status.state ?? 0)} to ${stateName(status.state)}, attempt ${status.attempt}`,
      );
    }
    if (isEnded(status.state)) this.#over.add(status.runId);
    if (record.isTransition) this.#lastTransition = revision;
    return complaints;
  }
}

/** Of a run that has ended nothing changes but how many writes of others were refused. */
function isOnlyCount(before: Version | undefined, after: Version): boolean {
  if (before === undefined || after.record.isTransition) return false;
  const [was, is] = [before.status, after.status];
  const isSame = was.runId === is.runId && was.state === is.state && was.result === is.result;
  return isSame && was.progress?.current === is.progress?.current && is.rejectedWrites > was.rejectedWrites;
}

function isLegal(before: Version | undefined, after: Version): boolean {
  if (before === undefined) return false;
  const [from, to] = [before.status.state, after.status.state];
  const isResume = after.status.attempt === before.status.attempt + 1;
  if (!after.record.isTransition) return from === to && after.status.attempt === before.status.attempt;
  if (isResume) return isActive(from) && (to === StatePending || to === StateFailed);
  return transitionTable.some(
    (rule) => rule.trigger !== "Resume" && rule.trigger !== "Launch" && rule.from.includes(from) && rule.to === to,
  );
}
