/** A client that watches one task, over every end of a run and every broken stream, by the revision of the message before. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, Code, ConnectError } from "@connectrpc/connect";
import type { TaskControllerService, WatchTaskResponse } from "#gen/stint/v1/controller_pb.js";
import { isEnded } from "../../../src/task/state.ts";
import type { Reachable } from "./reachable.ts";
import { lineOf, type Told } from "./told.ts";

export interface FollowedEntry {
  readonly seq: number;
  readonly msg: string;
}

/** A message that says something: a status, log entries, or both. */
export interface Message {
  readonly revision: number;
  /** The status, as lineOf writes it. */
  readonly line: string | undefined;
  readonly logs: readonly FollowedEntry[];
}

interface Server {
  readonly client: Client<typeof TaskControllerService>;
  readonly reachable: Reachable;
}

export class Follower {
  readonly controller: string;
  readonly taskId: string;
  readonly messages: Message[] = [];
  /** Streams that went on after one that broke. */
  resumes = 0;
  /** Everything up to here was received. */
  position = 0n;
  /** Why the last stream broke that did. */
  lastError = "";
  readonly #told: Told;
  readonly #stopping = new AbortController();
  readonly #over: Promise<void>;

  constructor(told: Told, server: Server, task: { controller: string; taskId: string }) {
    this.controller = task.controller;
    this.taskId = task.taskId;
    this.#told = told;
    this.#over = this.#run(server);
  }

  /** Resolves when everything up to `revision` was received; false when that is overdue. */
  async passed(revision: bigint, isOverdue: () => boolean): Promise<boolean> {
    while (this.position < revision && !isOverdue()) await sleep(20);
    return this.position >= revision;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#over;
  }

  async #run({ client, reachable }: Server): Promise<void> {
    const { signal } = this.#stopping;
    let broke = false;
    while (!signal.aborted) {
      await reachable.wait(signal);
      try {
        await this.#readStream(client, broke);
        broke = false;
      } catch (error) {
        broke = this.position > 0n;
        this.lastError = String(error);
        const { code, message } = ConnectError.from(error);
        const isLost = code === Code.OutOfRange || code === Code.NotFound || code === Code.DataLoss;
        // What was shown is on disk: no restart may fall behind it.
        if (isLost) return this.#told.complain(`a watch of ${this.taskId} after ${this.position}: ${message}`);
        if (!signal.aborted) await sleep(20);
      }
    }
  }

  /** Until the stream ends, which it does with the end of a run, or breaks. */
  async #readStream(client: Client<typeof TaskControllerService>, isResume: boolean): Promise<void> {
    const { controller, taskId } = this;
    const request = { controller, taskId, sinceRevision: this.position, includeLogs: true, waitForLaunch: true };
    let isAtEnd = false;
    let isFirst = isResume;
    for await (const change of client.watchTask(request, { signal: this.#stopping.signal })) {
      if (isAtEnd) this.#told.complain(`a watch of ${taskId} went on after the end of a run, at ${change.revision}`);
      if (isFirst) this.resumes += 1;
      isFirst = false;
      this.#take(change);
      isAtEnd = change.status !== undefined && isEnded(change.status.state);
    }
    if (!isAtEnd) this.#told.complain(`a watch of ${taskId} ended with OK, and not after an end`);
  }

  #take({ revision, status, logs }: WatchTaskResponse): void {
    if (revision < this.position)
      this.#told.complain(`a watch of ${this.taskId}: ${revision} came after ${this.position}`);
    this.position = revision;
    if (status !== undefined) this.#told.show("a watch", this.taskId, revision, status);
    if (status !== undefined || logs.length > 0) {
      const entries = logs.map(({ seq, msg }) => ({ seq: Number(seq), msg }));
      this.messages.push({ revision: Number(revision), line: status && lineOf(status), logs: entries });
    }
  }
}
