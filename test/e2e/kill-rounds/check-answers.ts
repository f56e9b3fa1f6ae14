/** What the service says when all is over: the same as the disk, and to every launch that is repeated what it said before. */
import type { Caller } from "./caller.ts";
import { controllers } from "./drivers.ts";
import { type Launch, lineOf } from "./told.ts";
import { metadataOf, type Truth } from "./truth.ts";

/** What is to be compared with the disk, once it can be read. */
export interface Answers {
  /** The store's revision before anything was asked: nothing of what was asked changes a task. */
  readonly since: bigint;
  readonly listed: ReadonlyArray<{ readonly controller: string; readonly taskId: string; readonly revision: bigint }>;
  readonly read: ReadonlyArray<{
    readonly taskId: string;
    readonly revision: bigint;
    readonly metadata: string;
    readonly entries: ReadonlyArray<{ readonly seq: bigint; readonly msg: string }>;
    readonly logCount: bigint;
  }>;
}

const sideBySide = 8;
const readsOfHistory = 100;

/** Asks for everything; what is wrong already by itself is complained of. */
export async function askAll(caller: Caller): Promise<Answers> {
  const since = (await caller.client.getServerInfo({})).store?.revision ?? 0n;
  const listed: Array<Answers["listed"][number]> = [];
  for (const controller of Object.values(controllers)) listed.push(...(await listAll(caller, controller)));
  const read: Array<Answers["read"][number]> = [];
  await forEachOf(
    listed.filter(({ taskId }) => !taskId.startsWith("many-")),
    async ({ controller, taskId }) => {
      const { status, revision } = await caller.status(controller, taskId, 1_000);
      read.push({ taskId, revision, metadata: status.metadata, entries: status.logs, logCount: status.logCount });
    },
  );
  await readHistory(caller);
  const repeatable = caller.told.launches.filter(({ answer, requestId }) => answer !== undefined && requestId !== "");
  await forEachOf(repeatable, (launch: Launch) => caller.repeat(launch));
  return { since, listed, read };
}

async function listAll(caller: Caller, controller: string): Promise<Array<Answers["listed"][number]>> {
  const listed: Array<Answers["listed"][number]> = [];
  for (let pageToken = ""; ; ) {
    const page = await caller.client.listTasks({ controller, pageToken, pageSize: 500 });
    for (const { taskId, revision, status } of page.tasks) {
      caller.told.show("a list", taskId, revision, status);
      listed.push({ controller, taskId, revision });
    }
    if (page.nextPageToken === "") {
      const total = page.totalSize ?? -1n;
      if (total !== BigInt(listed.length))
        caller.told.complain(`${controller} lists ${listed.length} of ${total} tasks`);
      return listed;
    }
    pageToken = page.nextPageToken;
  }
}

/** Some of what was shown before, as of the revision that it was shown with. */
async function readHistory({ client, told, random }: Caller): Promise<void> {
  const controllerOf = new Map(told.launches.map(({ taskId, controller }) => [taskId, controller]));
  for (let i = 0; i < readsOfHistory; i += 1) {
    const { taskId, revision, line } = random.pick(told.shown);
    const controller = controllerOf.get(taskId) ?? "";
    const { status } = await client.getTaskStatus({ controller, taskId, revision, logLimit: 0 });
    const is = status && lineOf(status);
    if (is !== line) told.complain(`${taskId} as of ${revision} is ${is}, and was shown as ${line}`);
  }
}

async function forEachOf<T>(all: readonly T[], step: (each: T) => Promise<void>): Promise<void> {
  let next = 0;
  const work = async (): Promise<void> => {
    for (let each = all[next++]; each !== undefined; each = all[next++]) await step(each);
  };
  await Promise.all(Array.from({ length: sideBySide }, work));
}

export function answerProblems({ since, listed, read }: Answers, truth: Truth): string[] {
  const problems: string[] = [];
  for (const { taskId, versions } of truth.tasks.values()) {
    const newest = versions.at(-1)?.revision ?? 0n;
    if (newest > since) problems.push(`reading and repeating has changed ${taskId} at ${newest}`);
  }
  const ids = new Set(listed.map(({ taskId }) => taskId));
  for (const { taskId } of truth.tasks.values()) if (!ids.has(taskId)) problems.push(`${taskId} is in no list`);
  for (const { taskId, revision } of listed) {
    const newest = truth.task(taskId)?.versions.at(-1)?.revision;
    if (newest !== revision) problems.push(`${taskId} is listed at ${revision}, and is at ${newest}`);
  }
  for (const { taskId, revision, metadata, entries, logCount } of read) {
    const task = truth.task(taskId);
    const newest = task?.versions.at(-1);
    if (task === undefined || newest?.revision !== revision) {
      problems.push(`${taskId} is read at ${revision}, and is at ${newest?.revision}`);
      continue;
    }
    if (metadata !== metadataOf(task, newest)) problems.push(`the metadata of ${taskId} is read as ${metadata}`);
    const kept = Math.min(Number(logCount), 1_000);
    const due = kept === 0 ? [] : task.entries.slice(-kept);
    if (entries.map(({ seq, msg }) => `${seq} ${msg}`).join() !== due.map(({ seq, msg }) => `${seq} ${msg}`).join())
      problems.push(`the log of ${taskId} is read with ${entries.length} entries, not the newest ${kept} there are`);
  }
  return problems;
}
