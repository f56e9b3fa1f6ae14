/** What running a command needs of a task; the controller's ActiveTask and TaskContext have it. */
export interface CommandTask {
  readonly taskId: string;
  /** The metadata as it was given; empty or blank when there is none. */
  loadJsonMetadata(): Promise<string>;
  /** The progress that is kept from before; undefined when there is none. */
  getProgress(): Promise<{ readonly current: bigint; readonly total: bigint } | undefined>;
  /** Resolves when this progress, or a later one, is on disk. */
  setProgress(progress: { current: bigint; total: bigint; message: string }): Promise<void>;
  /** Resolves when the entry is on disk. Entries keep their order; text above the limit of an entry is cut, with a mark. */
  addLogEntry(level: number, msg: string): Promise<void>;
}

export interface CommandContext {
  /** Aborted when the command is to stop. Where it was stopped because of that, the signal's reason is thrown. */
  readonly signal: AbortSignal;
  readonly attempt: number;
  readonly runId: string;
  readonly fence: bigint;
}
