/**
 * What a handler has said of its task and is not on disk yet: the newest progress, log entries, and the end of a phase. One write is
 * under way at a time; while it is, the next gathers here.
 *
 * 1. A caller is told "done" only when the server has said that it is on disk. Entries keep their order.
 * 2. Of several progresses that wait only the newest is sent; all their callers are told by that. It goes with the last of the entries that wait.
 * 3. What is said together, in one turn, is one write, as far as a write has room.
 * 4. The end of a phase goes out behind all that was said before it. Between two phases nothing is sent.
 * 5. What waits is bounded: log entries beyond the bound are refused, and all callers whose progress waits share a promise.
 */
import { create } from "@bufbuild/protobuf";
import type { Progress } from "#gen/core/v1/core_pb.js";
import {
  type NewLogEntry,
  NewLogEntrySchema,
  type PhaseEnd,
  PhaseEndSchema,
  type RunPhase,
  TaskWriteSchema,
} from "#gen/stint/v1/runner_pb.js";
import { createWaiter, type Waiter } from "../async/waiter.ts";
import { tooManyWait, waitingEntriesMax } from "../controller/active-task.ts";
import { ControllerError } from "../controller/error.ts";
import { byteLength } from "../task/limits.ts";
import type { GrpcStatus, ToSession } from "./thread-messages.ts";

interface WaitingEntry {
  readonly entry: NewLogEntry;
  readonly waiter: Waiter;
}

/** A message that was sent and not answered. */
interface Sent {
  readonly seq: bigint;
  readonly waiters: readonly Waiter[];
}

const entriesMax = 256;

export class RemoteWrites {
  readonly #task: { readonly taskId: string; readonly fence: bigint };
  readonly #post: (message: ToSession) => void;
  #seq = 0n;
  #sent: Sent[] = [];
  #progress: Progress | undefined;
  #newestProgress: Progress | undefined;
  /** Of all whose progress waits. */
  #progressWaiter: Waiter | undefined;
  #entries: WaitingEntry[] = [];
  #entriesMaxBytes = 0;
  #isArranged = false;
  #isBetweenPhases = true;
  /** Makes what says why nothing is taken any more: an error costs too much for who never asks. */
  #closed: (() => Error) | undefined;

  constructor(task: { readonly taskId: string; readonly fence: bigint }, post: (message: ToSession) => void) {
    this.#task = task;
    this.#post = post;
  }

  /** The progress that was said last, whether it is on disk or not; undefined when none was. */
  get newestProgress(): Progress | undefined {
    return this.#newestProgress;
  }

  setProgress(progress: Progress): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed());
    this.#progress = progress;
    this.#newestProgress = progress;
    this.#progressWaiter ??= createWaiter();
    this.#arrange();
    return this.#progressWaiter.promise;
  }

  addLogEntry(level: number, msg: string): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed());
    if (this.#entries.length >= waitingEntriesMax) return Promise.reject(tooManyWait());
    const entry = create(NewLogEntrySchema, { level, msg });
    const waiter = createWaiter();
    this.#entries.push({ entry, waiter });
    this.#arrange();
    return waiter.promise;
  }

  /** `entriesMaxBytes`: what the entries of one write may have. */
  beginPhase({ entriesMaxBytes }: { readonly entriesMaxBytes: number }): void {
    this.#isBetweenPhases = false;
    this.#entriesMaxBytes = entriesMaxBytes;
    this.#arrange();
  }

  /** Sends all that waits, and the end behind it; tells the end's seq. */
  endPhase(phase: RunPhase, outcome: PhaseEnd["outcome"]): bigint {
    while (this.#sendNext());
    const seq = this.#nextSeq();
    this.#sent.push({ seq, waiters: [] });
    this.#isBetweenPhases = true;
    this.#post({ type: "end", end: create(PhaseEndSchema, { ...this.#task, seq, phase, outcome }) });
    return seq;
  }

  /** Everything up to `seq` is on disk; with an error, what was said under `seq` alone was refused. */
  answered(seq: bigint, error?: GrpcStatus): void {
    const isAnswered = (sent: Sent): boolean => (error === undefined ? sent.seq <= seq : sent.seq === seq);
    const answered = this.#sent.filter(isAnswered);
    this.#sent = this.#sent.filter((sent) => !isAnswered(sent));
    for (const { waiters } of answered) {
      for (const waiter of waiters) {
        if (error === undefined) waiter.resolve();
        else waiter.reject(new ControllerError("INVALID_ARGUMENT", error.message));
      }
    }
    this.#arrange();
  }

  /** Nothing more is taken; what was sent may still be answered. */
  close(createError: () => Error): void {
    this.#closed ??= createError;
  }

  /** Nothing more is taken, sent or answered: all who wait are told so. */
  lose(createError: () => Error): void {
    this.close(createError);
    const waiters = [
      ...this.#sent.flatMap((sent) => sent.waiters),
      ...this.#takeEntries(Infinity),
      ...this.#takeProgress(),
    ];
    this.#sent = [];
    if (waiters.length === 0) return;
    const error = createError();
    for (const waiter of waiters) waiter.reject(error);
  }

  /** Not at once: what the handler says in the same turn goes with it. */
  #arrange(): void {
    if (this.#isArranged || this.#isEmpty) return;
    this.#isArranged = true;
    void Promise.resolve().then(() => {
      this.#isArranged = false;
      if (!this.#isBetweenPhases && this.#sent.length === 0) this.#sendNext();
    });
  }

  get #isEmpty(): boolean {
    return this.#entries.length === 0 && this.#progress === undefined;
  }

  /** Sends as much of what waits as a write has room for; tells whether there was anything. */
  #sendNext(): boolean {
    if (this.#isEmpty) return false;
    const count = this.#batchLength();
    const entries = this.#entries.slice(0, count).map(({ entry }) => entry);
    const isLast = count === this.#entries.length;
    const progress = isLast ? this.#progress : undefined;
    const waiters = [...this.#takeEntries(count), ...(isLast ? this.#takeProgress() : [])];
    const seq = this.#nextSeq();
    this.#sent.push({ seq, waiters });
    this.#post({ type: "write", write: create(TaskWriteSchema, { ...this.#task, seq, progress, entries }) });
    return true;
  }

  #batchLength(): number {
    let bytes = 0;
    let length = 0;
    for (const { entry } of this.#entries) {
      bytes += byteLength(entry.msg);
      if (length > 0 && (bytes > this.#entriesMaxBytes || length >= entriesMax)) break;
      length += 1;
    }
    return length;
  }

  #takeEntries(count: number): Waiter[] {
    return this.#entries.splice(0, count).map(({ waiter }) => waiter);
  }

  #takeProgress(): Waiter[] {
    const waiters = this.#progressWaiter === undefined ? [] : [this.#progressWaiter];
    this.#progress = undefined;
    this.#progressWaiter = undefined;
    return waiters;
  }

  #nextSeq(): bigint {
    this.#seq += 1n;
    return this.#seq;
  }
}
