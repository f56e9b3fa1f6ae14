/** Tasks as their hosts have them. */
import type { Progress, TaskCancel, TaskStatus } from "#gen/core/v1/core_pb.js";
import { copyProgress } from "../task/copy-status.ts";
import { cutText } from "../task/limits.ts";
import type { Task } from "../task/task.ts";
import { type ActiveTaskPort, createActiveTask, progressOf } from "./active-task.ts";
import { chunkMaxBytes, entriesBytes } from "./append-logs.ts";
import { untilDone } from "./commit.ts";
import type { Core } from "./core.ts";
import { ControllerError, invalidArgument } from "./error.ts";
import type { HostedTask, RunWrite } from "./host.ts";
import { type Run, runIsOver } from "./run.ts";
import { createLogEntry, type SaidAtOnce } from "./run-writes.ts";
import type { RunWriter } from "./run-writer.ts";
import type { TaskActor } from "./task-actor.ts";
import { foldStatus, loadPayload, loadTask } from "./task-reader.ts";
import type { ActiveTask } from "./task-runner.ts";

const withoutLogs = { metadata: true, result: true, logs: 0 };

/** The task of a run. What is said of it is written by `writer`; after the run is over it is refused. */
export function createHostedTask(core: Core, writer: RunWriter, actor: TaskActor, run: Run): HostedTask {
  return new RunningTask(core, writer, actor, run);
}

/** A class, as each run has one: an object with accessors of its own is made by V8's runtime, and read slowly from then on. */
class RunningTask implements HostedTask, ActiveTaskPort {
  readonly taskId: string;
  #active: ActiveTask | undefined;
  readonly #core: Core;
  readonly #writer: RunWriter;
  readonly #actor: TaskActor;
  readonly #run: Run;

  constructor(core: Core, writer: RunWriter, actor: TaskActor, run: Run) {
    this.#core = core;
    this.#writer = writer;
    this.#actor = actor;
    this.#run = run;
    this.taskId = actor.taskId;
  }

  /** Made for those who use it, who are in this process. */
  get active(): ActiveTask {
    return (this.#active ??= createActiveTask(this.taskId, this, this.#core.limits));
  }

  get writtenSeq(): bigint {
    return this.#actor.known?.task?.record.writtenSeq ?? 0n;
  }

  get cancel(): TaskCancel | undefined {
    return this.#actor.known?.task?.status.cancel;
  }

  async loadMetadata(): Promise<string> {
    const actor = this.#actor;
    this.#core.lifetime.check();
    const task = actor.known?.task ?? (await actor.serialize(async () => actor.load("until-done"))).task;
    if (task === undefined || isOthers(task, this.#run)) throw runIsOver(this.#run);
    return loadMetadata(this.#core, this.taskId, task);
  }

  async getProgress(): Promise<Progress | undefined> {
    const run = this.#run;
    this.#core.lifetime.check();
    const task = this.#actor.known?.task;
    if (task === undefined ? run.kind === "LOST_FENCE" : isOthers(task, run)) throw runIsOver(run);
    return copyProgress(run.writes.newestProgress ?? task?.status.progress);
  }

  setProgress(progress: Progress): Promise<void> {
    if (this.#run.isOver) return Promise.reject(runIsOver(this.#run));
    return this.#arranged(this.#run.writes.setProgress(progress));
  }

  addLogEntry(level: number, msg: string): Promise<void> {
    const { clock } = this.#core;
    if (this.#run.isOver) return Promise.reject(runIsOver(this.#run));
    return this.#arranged(this.#run.writes.addLogEntry(level, msg, clock.wall()));
  }

  loadStatus(): TaskStatus | Promise<TaskStatus> {
    const run = this.#run;
    const of = { runId: run.runId, known: this.#actor.known, isOver: () => runIsOver(run) };
    return loadStatus(this.#core, this.taskId, of);
  }

  async write(said: RunWrite): Promise<void> {
    const checked = checkedWrite(this.#core, said);
    if (this.#run.isOver) throw runIsOver(this.#run);
    return this.#arranged(this.#run.writes.write(checked));
  }

  /** What was said is written. */
  #arranged(said: Promise<void>): Promise<void> {
    this.#writer.arrangeFlush(this.#actor, this.#run);
    return said;
  }
}

/** Whether the task is no longer the run's: that was lost, or another has taken its place since it ended. */
function isOthers({ status }: Task, run: Run): boolean {
  return run.kind === "LOST_FENCE" || status.runId !== run.runId;
}

/** A task whose run has ended: it can be read, and writes nothing. */
export function createEndedTask(core: Core, taskId: string, ended: { task: Task; revision: bigint }): HostedTask {
  const { task } = ended;
  const isOver = (): ControllerError =>
    new ControllerError("FAILED_PRECONDITION", `the run of task "${taskId}" has ended; nothing more is written to it`);
  const refuse = (): Promise<never> => Promise.reject(isOver());
  const port: ActiveTaskPort = {
    loadMetadata: async () => {
      core.lifetime.check();
      return loadMetadata(core, taskId, task);
    },
    getProgress: async () => {
      core.lifetime.check();
      return copyProgress(task.status.progress);
    },
    setProgress: refuse,
    addLogEntry: refuse,
  };
  return {
    taskId,
    active: createActiveTask(taskId, port, core.limits),
    writtenSeq: task.record.writtenSeq,
    cancel: task.status.cancel,
    loadStatus: () => loadStatus(core, taskId, { runId: task.status.runId, known: ended, isOver }),
    write: refuse,
  };
}

async function loadMetadata(core: Core, taskId: string, task: Task): Promise<string> {
  if (task.record.metadataBytes === 0) return task.status.metadata;
  return (await untilDone(core, () => loadPayload(core, taskId, "metadata"))) ?? "";
}

interface StatusOf {
  readonly runId: string;
  /** What is known of the task, if it is. */
  readonly known: { readonly task: Task | undefined; readonly revision: bigint } | undefined;
  /** What is thrown where another run has taken its place. */
  readonly isOver: () => Error;
}

/** The status of the run as it is now. Of a task that keeps nothing apart from it, and was loaded, that is at hand. */
function loadStatus(core: Core, taskId: string, of: StatusOf): TaskStatus | Promise<TaskStatus> {
  core.lifetime.check();
  const { status, record } = of.known?.task ?? {};
  const isAtHand = record?.metadataBytes === 0 && record.resultBytes === 0 && status?.logs.length === 0;
  return isAtHand && status?.runId === of.runId ? status : readStatus(core, taskId, of);
}

async function readStatus(core: Core, taskId: string, { runId, known, isOver }: StatusOf): Promise<TaskStatus> {
  let version = known;
  for (;;) {
    version ??= await untilDone(core, () => loadTask(core, taskId));
    const { task, revision } = version ?? { task: undefined, revision: 0n };
    if (task?.status.runId !== runId) throw isOver();
    const status = await untilDone(core, () => foldStatus(core, taskId, { task, revision }, withoutLogs));
    if (status !== undefined) return status;
    // A newer version has taken away a payload: look at that.
    version = undefined;
  }
}

/** What can be stored of a write. Throws INVALID_ARGUMENT. */
function checkedWrite({ clock, limits }: Core, { seq, progress, entries }: RunWrite): SaidAtOnce {
  const nowMs = clock.wall();
  const cut = entries.map(({ level, msg }) => createLogEntry(level, cutText(msg, limits.logEntryMaxBytes), nowMs));
  const bytes = entriesBytes(cut);
  if (bytes > chunkMaxBytes) {
    const description = `must have at most ${chunkMaxBytes} bytes of text in all, and have ${bytes}`;
    throw invalidArgument([{ field: "entries", description }]);
  }
  return { seq, progress: progress && progressOf(progress, limits), entries: cut };
}
