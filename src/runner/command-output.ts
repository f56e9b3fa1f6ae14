/**
 * What a command says, on its way to the task: log entries, progress, a result, an error.
 *
 * 1. Both streams of the command end here, in the order in which their lines are read. What waits to be on disk is bounded: `take` does not
 *    return before there is room, and a stream whose reader waits is not read, so the command waits in its write.
 * 2. Progress is written at most once in `progressEveryMs`, the newest then; the last one before `flush` returns.
 * 3. When a write is refused, the run is over or the controller closed: the rest is dropped, and read as fast as it comes.
 */
import type { Clock } from "../clock.ts";
import type { JsonText } from "../json-text.ts";
import type { CommandTask } from "./command-task.ts";
import { type CommandProgress, parseOutputLine } from "./output-line.ts";

/** slog's levels. */
export const logLevel = { info: 0, warn: 4, error: 8 } as const;

const waitingMaxBytes = 512 * 1024;
/** What an entry takes beside its text; so many empty lines are bounded too. */
const entryOverheadBytes = 128;
const progressEveryMs = 100;

export class CommandOutput {
  readonly #task: CommandTask;
  readonly #clock: Clock;
  /** The last that was said; undefined when none was. */
  result: JsonText | undefined;
  error: string | undefined;

  #isRefused = false;
  #waitingBytes = 0;
  readonly #waiting = new Set<Promise<void>>();
  /** Those in `take`; woken when anything is on disk. */
  #wake: Array<() => void> = [];

  #progress: CommandProgress | undefined;
  #progressWrite: Promise<void> | undefined;
  #progressedMono = Number.NEGATIVE_INFINITY;
  #cancelTimer: (() => void) | undefined;

  constructor(task: CommandTask, clock: Clock) {
    this.#task = task;
    this.#clock = clock;
  }

  /** Takes a line. Resolves when there is room for the next; at once, and as undefined, where there is. */
  take(line: string, level: number): Promise<void> | undefined {
    if (this.#isRefused) return undefined;
    const said = parseOutputLine(line);
    switch (said.kind) {
      case "progress":
        this.#progress = said.progress;
        this.#arrangeProgress();
        return undefined;
      case "result":
        this.result = said.result;
        return undefined;
      case "error":
        this.error = said.message;
        return undefined;
      case "log":
        return this.#addEntry(level, line);
    }
  }

  /** Adds an entry that no line is. */
  addEntry(level: number, msg: string): void {
    void this.#addEntry(level, msg);
  }

  /** Resolves when all that was taken is on disk, or was refused. Nothing is taken after it was called. */
  async flush(): Promise<void> {
    for (;;) {
      this.#cancelTimer?.();
      this.#cancelTimer = undefined;
      const write = this.#progressWrite ?? this.#writeProgress();
      if (write === undefined) break;
      await write;
    }
    await Promise.all(this.#waiting);
  }

  #addEntry(level: number, msg: string): Promise<void> | undefined {
    const bytes = Buffer.byteLength(msg) + entryOverheadBytes;
    this.#waitingBytes += bytes;
    const written = this.#task
      .addLogEntry(level, msg)
      .catch(() => this.#refuse())
      .then(() => {
        this.#waitingBytes -= bytes;
        this.#waiting.delete(written);
        this.#wakeAll();
      });
    this.#waiting.add(written);
    return this.#hasRoom() ? undefined : this.#untilRoom();
  }

  #hasRoom(): boolean {
    return this.#isRefused || this.#waitingBytes < waitingMaxBytes;
  }

  async #untilRoom(): Promise<void> {
    while (!this.#hasRoom()) await new Promise<void>((resolve) => this.#wake.push(resolve));
  }

  #wakeAll(): void {
    const woken = this.#wake;
    this.#wake = [];
    for (const wake of woken) wake();
  }

  #refuse(): void {
    this.#isRefused = true;
    this.#progress = undefined;
  }

  #arrangeProgress(): void {
    if (this.#progressWrite !== undefined || this.#cancelTimer !== undefined) return;
    const dueMs = this.#progressedMono + progressEveryMs - this.#clock.mono();
    const write = (): void => {
      this.#cancelTimer = undefined;
      void this.#writeProgress();
    };
    if (dueMs <= 0) write();
    else this.#cancelTimer = this.#clock.after(dueMs, write);
  }

  /** Writes the newest progress; undefined when there is none that was not written. Never rejects. */
  #writeProgress(): Promise<void> | undefined {
    const progress = this.#progress;
    if (progress === undefined) return undefined;
    this.#progress = undefined;
    this.#progressedMono = this.#clock.mono();
    this.#progressWrite = this.#task
      .setProgress(progress)
      .catch(() => this.#refuse())
      .then(() => {
        this.#progressWrite = undefined;
        if (this.#progress !== undefined) this.#arrangeProgress();
      });
    return this.#progressWrite;
  }
}
