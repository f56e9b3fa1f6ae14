/** Tasks at an even rate, each followed to its end: what was acknowledged has to end as it must, whatever breaks on the way. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, Code, ConnectError } from "@connectrpc/connect";
import { create } from "@bufbuild/protobuf";
import type { LogEntry, TaskStatus } from "#gen/core/v1/core_pb.js";
import { IfActive, IfEnded, LaunchTaskRequestSchema, type TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { forEachConcurrently } from "../../../src/async/for-each-concurrently.ts";
import { isEnded, StateCanceled, StateCompleted, stateName } from "../../../src/task/state.ts";
import type { SeededRandom } from "../../support/seeded-random.ts";

const callMaxMs = 10_000;
const answerMaxMs = 120_000;
const underWayMaxMs = 60_000;
export const steps = 5;
const batchSize = 10;
const fillBatchSize = 50;
const fillBatchesAtOnce = 4;
/** How often each of the things is done. */
const weights = { watch: 4, wait: 4, cancel: 2, look: 2, batch: 1, remote: 3 };

export type Kind = keyof typeof weights;

/**
 * A launch that is made again finds the task that the first has made, as none of these ids is launched twice. Request ids, which do the same, are remembered for a day: the store,
 * and the filter of its keys, would grow for that long if all had one. One kind has.
 */
const onceById = { ifActive: IfActive.USE_EXISTING, ifEnded: IfEnded.USE_EXISTING };

export interface LoadOptions {
  /** One of them for each thing that is done. */
  readonly clients: ReadonlyArray<Client<typeof TaskControllerService>>;
  readonly random: SeededRandom;
  /** Metadata of a task of the remote controller, and of one that has nothing to do. */
  readonly remoteMetadata: string;
  readonly emptyRemoteMetadata: string;
}

/** Tasks that are done at once: how many, and in which time. */
export interface FillOptions {
  readonly tasks: number;
  readonly remoteTasks: number;
  readonly withinMs: number;
}

export class Load {
  /** Tasks that were followed to their end, by what was done with them. */
  readonly counts: Record<Kind, number> = { watch: 0, wait: 0, cancel: 0, look: 0, batch: 0, remote: 0 };
  readonly problems: string[] = [];
  /** Calls that broke off, and were made again. */
  brokenOff = 0;
  /** Tasks that were launched to fill what fills. */
  filled = 0;
  #begun = 0;
  readonly #under = new Set<Promise<void>>();
  readonly #options: LoadOptions;

  constructor(options: LoadOptions) {
    this.#options = options;
  }

  /** Tasks that were acknowledged, all of which have ended as they must. */
  get tasks(): number {
    return Object.values(this.counts).reduce((sum, count) => sum + count, 0);
  }

  /** Begins as many things a second as `perSecond`, whatever the server does with them as long as it is not a minute behind, until the signal. */
  async run(perSecond: number, signal: AbortSignal): Promise<void> {
    const begunMs = performance.now();
    for (let n = 1; !signal.aborted; n += 1) {
      // Of a machine that has too much to do for a while; what does not end at all has times of its own.
      while (this.#under.size >= (underWayMaxMs * perSecond) / 1_000) await Promise.race(this.#under);
      const one: Promise<void> = this.#one().finally(() => this.#under.delete(one));
      this.#under.add(one);
      await sleep(Math.max(0, begunMs + (n * 1_000) / perSecond - performance.now()), undefined, { signal }).catch(
        () => {},
      );
    }
    await Promise.all(this.#under);
  }

  /** Has tasks come and go that do nothing, evenly, so that what fills with the number of tasks is full; until the signal. */
  async fill({ tasks, remoteTasks, withinMs }: FillOptions, signal: AbortSignal): Promise<void> {
    const begunMs = performance.now();
    const batches = Math.ceil(tasks / fillBatchSize);
    const remoteUpTo = (batch: number): number => Math.ceil((remoteTasks * batch) / batches);
    const metadata = JSON.stringify({ steps: 0 });
    await forEachConcurrently(Array.from({ length: batches }).keys(), fillBatchesAtOnce, async (n) => {
      const leftMs = begunMs + (n * withinMs) / batches - performance.now();
      await sleep(Math.max(0, leftMs), undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      const remote = { controller: "count", metadata: this.#options.emptyRemoteMetadata };
      await Promise.all([
        this.#fillBatch({ controller: "steps", metadata, size: fillBatchSize }),
        this.#fillBatch({ ...remote, size: remoteUpTo(n + 1) - remoteUpTo(n) }),
      ]);
    });
  }

  async #fillBatch(batch: { controller: string; metadata: string; size: number }): Promise<void> {
    const { controller, metadata, size } = batch;
    const client = this.#options.random.pick(this.#options.clients);
    const requests = Array.from({ length: size }, () => {
      const taskId = `f${(this.filled += 1)}`;
      const payload = { case: "jsonMetadata" as const, value: metadata };
      return create(LaunchTaskRequestSchema, { controller, taskId, payload, ...onceById });
    });
    if (size === 0) return;
    try {
      await this.#answered((options) => client.batchLaunchTasks({ requests }, options));
      // In the order in which they were launched, more or less: the last is among the last to end.
      const last = requests.at(-1)?.taskId ?? "";
      const { state } = await this.#wait(client, { controller, taskId: last });
      if (state !== StateCompleted) throw new Error(`ends as ${stateName(state)}`);
    } catch (error) {
      this.problems.push(`fill ${requests[0]?.taskId}: ${String(error)}`);
    }
  }

  async #one(): Promise<void> {
    const { clients, random } = this.#options;
    const kind = random.weighted(weights);
    const taskId = `t${(this.#begun += 1)}`;
    try {
      const done = await this.#do(kind, taskId, random.pick(clients));
      this.counts[kind] += done;
    } catch (error) {
      this.problems.push(`${kind} ${taskId}: ${String(error)}`);
    }
  }

  /** Resolves to how many tasks it was about. */
  async #do(kind: Kind, taskId: string, client: Client<typeof TaskControllerService>): Promise<number> {
    const controller = kind === "remote" ? "count" : "steps";
    const task = { controller, taskId };
    const value = kind === "remote" ? this.#options.remoteMetadata : JSON.stringify({ steps });
    const payload = { case: "jsonMetadata" as const, value };
    const once = kind === "look" ? { requestId: taskId } : onceById;
    const launch = create(LaunchTaskRequestSchema, { ...task, payload, labels: { kind }, ...once });
    if (kind === "batch") return this.#batch(taskId, client);
    await this.#answered((options) => client.launchTask(launch, options));
    if (kind === "watch") {
      const { status, logs } = await this.#watch(client, task);
      expectCompleted(status);
      expectOneByOne(logs.map(({ seq }) => Number(seq)));
      return 1;
    }
    if (kind === "cancel") await this.#answered((options) => client.cancelTask({ ...task, reason: "soak" }, options));
    const status = await this.#wait(client, task);
    if (kind === "cancel" && status.state === StateCanceled) return 1;
    expectCompleted(status);
    if (kind === "look") await this.#look(client, task);
    return 1;
  }

  async #batch(batchId: string, client: Client<typeof TaskControllerService>): Promise<number> {
    const ids = Array.from({ length: batchSize }, (_, i) => `${batchId}-${i}`);
    const payload = { case: "jsonMetadata" as const, value: JSON.stringify({ steps }) };
    const requests = ids.map((taskId) =>
      create(LaunchTaskRequestSchema, { controller: "steps", taskId, payload, ...onceById }),
    );
    const { results } = await this.#answered((options) => client.batchLaunchTasks({ requests }, options));
    for (const { result } of results)
      if (result.case !== "launched") throw new Error(`is not launched: ${result.case}`);
    for (const taskId of ids) expectCompleted(await this.#wait(client, { controller: "steps", taskId }));
    return batchSize;
  }

  /** What else can be asked about a task that has ended; in the end it is deleted. */
  async #look(
    client: Client<typeof TaskControllerService>,
    task: { controller: string; taskId: string },
  ): Promise<void> {
    const { taskId, controller } = task;
    const { entries } = await this.#answered((options) => client.listTaskLogs({ ...task, pageSize: 100 }, options));
    expectOneByOne(entries.map(({ seq }) => Number(seq)));
    const listed = await this.#answered((options) =>
      client.listTasks({ controller, labels: { kind: "look" }, idPrefix: taskId, pageSize: 10 }, options),
    );
    if (!listed.tasks.some((each) => each.taskId === taskId)) throw new Error("is not in the list");
    try {
      await this.#answered((options) => client.deleteTask(task, options));
    } catch (error) {
      // It was deleted by a call whose answer was lost.
      if (ConnectError.from(error).code !== Code.NotFound) throw error;
    }
  }

  async #wait(
    client: Client<typeof TaskControllerService>,
    task: { controller: string; taskId: string },
  ): Promise<TaskStatus> {
    for (const untilMs = performance.now() + answerMaxMs; performance.now() < untilMs; ) {
      const { status } = await this.#answered((options) =>
        client.waitTask({ ...task, timeout: { seconds: 5n, nanos: 0 } }, options),
      );
      if (status !== undefined && isEnded(status.state)) return status;
    }
    throw new Error("does not end");
  }

  async #watch(client: Client<typeof TaskControllerService>, task: { controller: string; taskId: string }) {
    let sinceRevision = 0n;
    let status: TaskStatus | undefined;
    const logs: LogEntry[] = [];
    for (const untilMs = performance.now() + answerMaxMs; performance.now() < untilMs; await sleep(50)) {
      try {
        const messages = client.watchTask({ ...task, sinceRevision, includeLogs: true }, { timeoutMs: answerMaxMs });
        for await (const message of messages) {
          if (message.revision < sinceRevision) throw new RangeError(`goes back from ${sinceRevision}`);
          sinceRevision = message.revision;
          logs.push(...message.logs);
          status = message.status ?? status;
        }
        if (status !== undefined) return { status, logs };
      } catch (error) {
        if (error instanceof RangeError || !isBroken(error)) throw error;
        this.brokenOff += 1;
      }
    }
    throw new Error("does not end");
  }

  /** Made again where it broke off, in the same words. */
  async #answered<T>(call: (options: { timeoutMs: number }) => Promise<T>): Promise<T> {
    for (const untilMs = performance.now() + answerMaxMs; ; await sleep(50)) {
      try {
        return await call({ timeoutMs: callMaxMs });
      } catch (error) {
        if (!isBroken(error) || performance.now() > untilMs) throw error;
        this.brokenOff += 1;
      }
    }
  }
}

/** What a connection that breaks makes of a call, and a machine with too much to do. */
const broken: readonly Code[] = [Code.Unavailable, Code.Aborted, Code.Canceled, Code.Internal, Code.DeadlineExceeded];

function isBroken(error: unknown): boolean {
  return broken.includes(ConnectError.from(error).code);
}

function expectCompleted({ state, progress }: TaskStatus): void {
  if (state !== StateCompleted) throw new Error(`ends as ${stateName(state)}`);
  if (progress?.current !== BigInt(steps)) throw new Error(`ends with progress ${progress?.current}`);
}

function expectOneByOne(seqs: readonly number[]): void {
  if (seqs.length !== steps || seqs.some((seq, i) => seq !== i + 1))
    throw new Error(`has the log entries ${seqs.join()}`);
}
