/** Calls of a client that does not give up: what broke off or took too long is asked again, in the same words. */
import { setTimeout as sleep } from "node:timers/promises";
import { type CallOptions, type Client, Code, ConnectError } from "@connectrpc/connect";
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import {
  type GetTaskStatusResponse,
  IfActive,
  IfEnded,
  type TaskControllerService,
} from "#gen/stint/v1/controller_pb.js";
import { canary } from "../../support/canary.ts";
import type { SeededRandom } from "../../support/seeded-random.ts";
import { nowUs } from "./ledger-line.ts";
import type { Reachable } from "./reachable.ts";
import type { Cancel, Launch, Told } from "./told.ts";

/** What the server says when it has understood a call and does not do it. */
const refusals: readonly Code[] = [
  Code.InvalidArgument,
  Code.NotFound,
  Code.AlreadyExists,
  Code.FailedPrecondition,
  Code.OutOfRange,
  Code.Unimplemented,
  Code.DataLoss,
];
const callMaxMs = 10_000;
const triesMax = 1_000;

export interface LaunchAsk {
  readonly controller: string;
  readonly taskId: string;
  readonly isAlone: boolean;
  readonly metadata?: object | undefined;
  readonly ifActive?: IfActive;
  readonly ifEnded?: IfEnded;
  /** Default true. Without one, only a launch that cannot happen twice is safe to repeat. */
  readonly hasRequestId?: boolean;
}

type Server = Client<typeof TaskControllerService>;

export interface CalledServer {
  readonly client: Server;
  /** Its calls arrive, and their answers are lost. */
  readonly unanswered: Server;
  readonly reachable: Reachable;
}

export class Caller {
  readonly told: Told;
  readonly client: Server;
  readonly random: SeededRandom;

  /** Through a proxy on which no answer comes back. */
  readonly #unanswered: Server;
  readonly #reachable: Reachable;

  constructor(told: Told, server: CalledServer, random: SeededRandom) {
    this.told = told;
    this.client = server.client;
    this.#unanswered = server.unanswered;
    this.#reachable = server.reachable;
    this.random = random;
  }

  /** Launches, and repeats until it is answered. */
  async launch(ask: LaunchAsk): Promise<Launch> {
    const launch = this.#begin(ask);
    const answer = await this.#untilAnswered(launch, (client, options) =>
      client.launchTask(requestOf(launch), options),
    );
    if (answer === undefined) return launch;
    settle(launch, answer);
    this.told.show(`launch ${launch.nonce}`, answer.taskId, answer.revision, answer.status);
    return launch;
  }

  /** The same with all of them in one call, which is repeated as a whole. */
  async launchBatch(asks: readonly LaunchAsk[]): Promise<void> {
    const launches = asks.map((ask) => this.#begin(ask));
    const call = { nonce: `a batch of ${launches.length}`, endedUs: Infinity, tries: 0 };
    const results = await this.#untilAnswered(call, async (client, options) => {
      const answer = await client.batchLaunchTasks({ requests: launches.map((launch) => requestOf(launch)) }, options);
      return answer.results.map(({ result }) => {
        if (result.case === "launched") return result.value;
        throw new ConnectError(result.value?.message ?? "no result", result.value?.code ?? Code.Internal);
      });
    });
    if (results === undefined) return this.told.complain(`${call.nonce} was refused`);
    for (const [i, launch] of launches.entries()) {
      launch.tries = call.tries;
      launch.endedUs = call.endedUs;
      settle(launch, results[i]!);
    }
  }

  #begin(ask: LaunchAsk): Launch {
    const nonce = this.told.nonce();
    return this.told.launch({
      controller: ask.controller,
      askedId: ask.taskId,
      taskId: ask.taskId,
      isAlone: ask.isAlone,
      nonce,
      requestId: (ask.hasRequestId ?? true) ? `request ${nonce}` : "",
      ifActive: ask.ifActive ?? IfActive.UNSPECIFIED,
      ifEnded: ask.ifEnded ?? IfEnded.UNSPECIFIED,
      metadata: ask.metadata === undefined ? undefined : JSON.stringify({ ...ask.metadata, canary }),
    });
  }

  /** Sends a launch that was answered once more: the answer must be the same. */
  async repeat(launch: Launch): Promise<void> {
    const again: Launch = { ...launch, begunUs: nowUs(), endedUs: Infinity, tries: 0 };
    const answer = await this.#untilAnswered(again, (client, options) => client.launchTask(requestOf(launch), options));
    const was = JSON.stringify(launch.answer);
    const is = JSON.stringify(answer && { taskId: answer.taskId, runId: answer.runId, outcome: answer.outcome });
    if (is !== was) this.told.complain(`${launch.requestId} was answered ${was}, and repeated ${is ?? again.refusal}`);
  }

  /** Sends the request_id with another payload, which must be refused. */
  async misuse(launch: Launch): Promise<void> {
    const again: Launch = { ...launch, metadata: '{"steps":77}', begunUs: nowUs(), endedUs: Infinity, tries: 0 };
    const answer = await this.#untilAnswered(again, (client, options) => client.launchTask(requestOf(again), options));
    if (answer !== undefined || again.refusal !== Code.AlreadyExists)
      this.told.complain(`${launch.requestId} with another payload was not refused as such (${again.refusal})`);
  }

  async cancel(ask: { controller: string; taskId: string; isAlone: boolean; waitMs: number }): Promise<Cancel> {
    const { waitMs, ...about } = ask;
    const cancel = this.told.cancel({ ...about, nonce: this.told.nonce() });
    const request = {
      controller: cancel.controller,
      taskId: cancel.taskId,
      reason: cancel.nonce,
      ...(waitMs === 0 ? {} : { wait: { seconds: 0n, nanos: waitMs * 1_000_000 } }),
    };
    const answer = await this.#untilAnswered(cancel, (client, options) => client.cancelTask(request, options));
    if (answer === undefined) return cancel;
    cancel.answer = { runId: answer.status?.runId ?? "" };
    this.told.show(`cancel ${cancel.nonce}`, cancel.taskId, answer.revision, answer.status);
    return cancel;
  }

  /** The status of a task that must be there. */
  async status(
    controller: string,
    taskId: string,
    logLimit = 0,
  ): Promise<GetTaskStatusResponse & { status: TaskStatus }> {
    const call = { nonce: `the status of ${taskId}`, endedUs: Infinity, tries: 0 };
    const answer = await this.#untilAnswered(call, (client, options) =>
      client.getTaskStatus({ controller, taskId, logLimit }, options),
    );
    if (answer?.status === undefined) throw new Error(`there is no status of ${taskId}`);
    this.told.show("a status", taskId, answer.revision, answer.status);
    return { ...answer, status: answer.status };
  }

  /** Undefined: it was refused, for good. */
  async #untilAnswered<T>(
    call: { readonly nonce: string; endedUs: number; tries: number; refusal?: Code },
    send: (client: Server, options: CallOptions) => Promise<T>,
  ): Promise<T | undefined> {
    let client = this.random.chance(0.1) ? this.#unanswered : this.client;
    // Some answers are lost because nobody waits for them: the call may have been done, or not.
    let timeoutMs = this.random.chance(0.05) ? this.random.int(1, 12) : callMaxMs;
    for (;;) {
      await this.#reachable.wait();
      call.tries += 1;
      try {
        const answer = await send(client, { timeoutMs });
        call.endedUs = nowUs();
        this.told.answers += 1;
        return answer;
      } catch (error) {
        const { code } = ConnectError.from(error);
        if (refusals.includes(code)) {
          call.endedUs = nowUs();
          call.refusal = code;
          return undefined;
        }
        if (call.tries >= triesMax) throw new Error(`${call.nonce} was never answered`, { cause: error });
      }
      timeoutMs = callMaxMs;
      client = this.client;
      await sleep(this.random.int(5, 40));
    }
  }
}

function settle(launch: Launch, { taskId, runId, outcome }: NonNullable<Launch["answer"]>): void {
  launch.answer = { taskId, runId, outcome };
  launch.taskId = taskId;
}

function requestOf(launch: Launch) {
  return {
    controller: launch.controller,
    taskId: launch.askedId,
    labels: { nonce: launch.nonce },
    requestId: launch.requestId,
    ifActive: launch.ifActive,
    ifEnded: launch.ifEnded,
    ...(launch.metadata === undefined ? {} : { payload: { case: "jsonMetadata" as const, value: launch.metadata } }),
  };
}
