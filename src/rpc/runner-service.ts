/**
 * TaskRunnerService: one stream for each runner. It owns the stream, from its hello to its end, and attaches it to the instance
 * that the hello names.
 *
 * States: waiting for the hello -> attached -> over.
 *
 * 1. The hello is the first message, comes in time, and keeps the rules; only then is anything looked up, and a controller made.
 * 2. The welcome is the first answer.
 * 3. What is said is read while answers are sent: a runner that does not read holds up nothing but its own answers.
 * 4. However it ends, the instance is told so at once, and once: also while the last answer is on its way to a runner that does not read.
 */
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import {
  type RunnerHello,
  type RunRequest,
  RunRequestSchema,
  type RunResponse,
  RunResponseSchema,
  TaskRunnerService,
} from "#gen/stint/v1/runner_pb.js";
import { nextTurn } from "../async/next-turn.ts";
import { onAbort } from "../async/signals.ts";
import { type Clock, sleep } from "../clock.ts";
import { ControllerError, invalidArgument } from "../controller/error.ts";
import type { Attachment, Detachment, RemoteRunners } from "../controller/remote-link.ts";
import type { TaskLimits } from "../task/limits.ts";
import { type BatchCall, eachAlone, MessageReader } from "./batches.ts";
import { type CallPolicy, endOnDrain, type Implementation, raceSignal, streamCall } from "./call.ts";
import { toStatus } from "./errors.ts";
import { warmRules } from "./rules.ts";
import { checkMessage, readMessages } from "./runner-inbound.ts";
import { runnerLimits } from "./runner-limits.ts";
import { RunnerOutbound } from "./runner-outbound.ts";

/**
 * The runners of the controller of that name, which is made if it is not there. Throws FAILED_PRECONDITION where others run its tasks,
 * RESOURCE_EXHAUSTED where there are too many, UNAVAILABLE.
 */
export type OpenRunners = (controller: string) => Promise<RemoteRunners>;

export interface TaskRunnerServiceOptions extends CallPolicy {
  readonly clock: Clock;
  readonly limits: TaskLimits & {
    readonly requestMaxBytes: number;
    /** How many messages of one stream are read in a second, beside those that its offers bring room for. */
    readonly runnerMessagesPerSecondMax: number;
  };
  readonly openRunners: OpenRunners;
}

const helloMaxMs = 10_000;
/** A status in a message has no header to fit into, but 4,096 of them may wait. */
const violationsMaxBytes = 1024;

export function createTaskRunnerService(options: TaskRunnerServiceOptions): Implementation<typeof TaskRunnerService> {
  const inBatches = createRunInBatches(options);
  return {
    async *run(requests, context) {
      for await (const batch of inBatches(eachAlone(requests, RunRequestSchema), context)) yield* batch;
    },
  };
}

/** The method Run of the service, with many messages at once. */
export function createRunInBatches(options: TaskRunnerServiceOptions): BatchCall<RunRequest, RunResponse> {
  warmRules(TaskRunnerService);
  return streamCall(options, (requests: Requests, context) => run(options, requests, context));
}

type Requests = Parameters<BatchCall<RunRequest, RunResponse>>[0];

async function* run(
  options: TaskRunnerServiceOptions,
  requests: Requests,
  context: HandlerContext,
): AsyncGenerator<readonly RunResponse[]> {
  using ending = endOnDrain(options, context.signal);
  const incoming = new MessageReader(requests);
  const hello = await readHello(incoming, options.clock, ending.signal);
  const runners = await raceSignal(options.openRunners(hello.controller), ending.signal);
  const stream = new RunnerStream(options, context.method.name);
  const offAbort = onAbort(ending.signal, () => stream.detach("broken"));
  try {
    const { welcome } = stream.attach(runners, hello);
    Object.assign(welcome.limits, limitsOf(options));
    stream.read(incoming);
    yield [create(RunResponseSchema, { message: { case: "welcome", value: welcome } })];
    yield* stream.outbound.batches(ending.signal, nextTurn);
  } finally {
    offAbort();
    stream.detach("broken");
    incoming.stop();
  }
}

/** What a runner has to keep to, as a welcome names it. */
function limitsOf({ limits }: TaskRunnerServiceOptions): Record<string, bigint> {
  return {
    request_max_bytes: BigInt(limits.requestMaxBytes),
    result_max_bytes: BigInt(limits.resultMaxBytes),
    log_entry_max_bytes: BigInt(limits.logEntryMaxBytes),
    progress_message_max_bytes: BigInt(limits.progressMessageMaxBytes),
    runner_messages_per_second_max: BigInt(limits.runnerMessagesPerSecondMax),
    runner_unwritten_max: BigInt(runnerLimits.runnerUnwrittenMax),
    runner_unwritten_max_bytes: BigInt(runnerLimits.runnerUnwrittenMaxBytes),
    runner_unread_max: BigInt(runnerLimits.runnerUnreadMax),
  };
}

async function readHello(incoming: MessageReader<RunRequest>, clock: Clock, signal: AbortSignal): Promise<RunnerHello> {
  const done = new AbortController();
  const late = sleep(clock, helloMaxMs, done.signal).then((): never => {
    throw new ConnectError(`there was no hello within ${helloMaxMs} ms`, Code.DeadlineExceeded);
  });
  // When the hello is there, nobody listens to that.
  late.catch(() => {});
  try {
    await raceSignal(Promise.race([incoming.more(), late]), signal);
    const received = incoming.take();
    const message = received && checkMessage(received.message).message;
    if (message?.case === "hello") return message.value;
    throw invalidArgument([{ field: "hello", description: "must be the first message" }]);
  } finally {
    done.abort();
  }
}

/** A stream, and the instance that it is attached to. */
class RunnerStream {
  readonly outbound: RunnerOutbound;
  readonly #options: TaskRunnerServiceOptions;
  readonly #over = new AbortController();
  #attachment: Attachment | undefined;

  constructor(options: TaskRunnerServiceOptions, rpc: string) {
    const { faults } = options;
    this.#options = options;
    this.outbound = new RunnerOutbound({
      toStatus: (error) => toStatus(error, { faults, rpc, violationsMaxBytes }),
      onUnloadable: (error) => faults.note("background_errors", { err: error }, "an offer could not be made"),
      // The controller may be in the midst of what it does with this link.
      onEnd: () => void Promise.resolve().then(() => this.detach("broken")),
    });
  }

  attach(runners: RemoteRunners, hello: RunnerHello): Attachment {
    const attachment = runners.attach(hello, this.outbound);
    if (this.#over.signal.aborted) attachment.detach("broken");
    this.#attachment = attachment;
    return attachment;
  }

  /** Passes on what the runner says, until it or the stream is at its end. */
  read(incoming: MessageReader<RunRequest>): void {
    const attachment = this.#attachment;
    if (attachment === undefined) throw new Error("the stream is not attached");
    const { clock, limits } = this.#options;
    const { runnerMessagesPerSecondMax: messagesPerSecondMax } = limits;
    const takeAllowance = (): boolean => this.outbound.takeAllowance();
    readMessages(incoming, { attachment, clock, messagesPerSecondMax, takeAllowance, signal: this.#over.signal }).then(
      () => {
        this.detach("finished");
        this.outbound.finish();
      },
      (error: unknown) => {
        // Who has ended the stream says why.
        if (this.#over.signal.aborted) return;
        this.detach(isInvalid(error) ? "invalid" : "broken");
        this.outbound.close(error instanceof Error ? error : new Error("a stream broke", { cause: error }));
      },
    );
  }

  /** The instance is told no more, and nothing more is read. Only the first call counts. */
  detach(how: Detachment): void {
    if (this.#over.signal.aborted) return;
    this.#over.abort();
    this.#attachment?.detach(how);
  }
}

function isInvalid(error: unknown): boolean {
  if (error instanceof ControllerError) return error.code === "INVALID_ARGUMENT";
  return error instanceof ConnectError && error.code === Code.InvalidArgument;
}
