/** A remote runner in the hands of a test: one stream of grpc-js, and what is said on it, byte for byte if need be. */
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Client, type ClientDuplexStream, credentials, type StatusObject } from "@grpc/grpc-js";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "#gen/google/rpc/status_pb.js";
import {
  AbortReason,
  type RunnerHelloSchema,
  type RunnerWelcome,
  RunPhase,
  RunRequestSchema,
  type RunResponse,
  RunResponseSchema,
  type TaskOffer,
} from "#gen/stint/v1/runner_pb.js";

type Said = Exclude<MessageInitShape<typeof RunRequestSchema>["message"], undefined>;
type Told = RunResponse["message"];
/** By kind. */
type Values = { [M in Told as M["case"] & string]: NonNullable<M["value"]> };
type Kind = keyof Values;
type Of = Pick<TaskOffer, "taskId" | "fence">;
type Outcome = NonNullable<Extract<Said, { case: "end" }>["value"]["outcome"]>;

/** How a stream ended: the code of gRPC by its number, the message, and the reason of ErrorInfo. */
export interface GrpcStatus {
  readonly code: number;
  readonly message: string;
  readonly reason: string | undefined;
}

export class RawRunner {
  readonly #client: Client;
  readonly #stream: ClientDuplexStream<Buffer, RunResponse>;
  /** All that it was told and nobody has taken, in order. */
  readonly #told: Told[] = [];
  /** How it ended. */
  readonly ended: Promise<GrpcStatus>;
  /** Those who wait for a message. */
  readonly #looking = new Set<() => void>();
  readonly #seqs = new Map<string, bigint>();
  #isOver = false;

  /** Opens a stream to HOST:PORT, on a connection of its own, and says nothing. */
  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 });
    this.#stream = this.#client.makeBidiStreamRequest<Buffer, RunResponse>(
      "/stint.v1.TaskRunnerService/Run",
      (bytes) => bytes,
      (bytes) => fromBinary(RunResponseSchema, bytes),
    );
    this.#stream.on("data", (response: RunResponse) => {
      this.#told.push(response.message);
      for (const look of [...this.#looking]) look();
    });
    // The status says the same.
    this.#stream.on("error", () => {});
    this.ended = new Promise((resolve) => {
      this.#stream.on("status", (status: StatusObject) => {
        this.#isOver = true;
        resolve(readEnd(status));
        this.#client.close();
      });
    });
  }

  /** Opens a stream, says hello, and waits for the welcome. */
  static async connect(
    address: string,
    hello: MessageInitShape<typeof RunnerHelloSchema> = {},
  ): Promise<RawRunner & { welcome: RunnerWelcome }> {
    const runner = new RawRunner(address);
    runner.hello(hello);
    const welcome = await runner.take("welcome");
    return Object.assign(runner, { welcome });
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  hello(hello: MessageInitShape<typeof RunnerHelloSchema> = {}): void {
    const all = { controller: "remote", runner: "raw", capacity: 10, protocolVersion: 1, ...hello };
    this.say({ case: "hello", value: { instanceId: `${all.runner}-0123456789abcdef`, ...all } });
  }

  say(message: Said): void {
    void this.sayBytes(toBinary(RunRequestSchema, create(RunRequestSchema, { message })));
  }

  /** A message as it is on the wire, right or wrong. Resolves when it was taken by the connection. */
  sayBytes(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => this.#stream.write(Buffer.from(bytes), () => resolve()));
  }

  beAlive(number = 0n): void {
    this.say({ case: "keepalive", value: { number } });
  }

  accept({ taskId, fence }: Of, phase: RunPhase): void {
    this.say({ case: "accept", value: { taskId, fence, phase } });
  }

  write(of: Of, write: { current?: number; entries?: readonly string[]; seq?: bigint }): bigint {
    const { taskId, fence } = of;
    const seq = write.seq ?? this.#nextSeq(of);
    const progress = write.current === undefined ? undefined : { current: BigInt(write.current) };
    const entries = (write.entries ?? []).map((msg) => ({ msg, level: 0 }));
    this.say({ case: "write", value: { taskId, fence, seq, progress, entries } });
    return seq;
  }

  end(of: Of, phase: RunPhase, outcome: Outcome = { case: "done", value: {} }, seq = this.#nextSeq(of)): bigint {
    const { taskId, fence } = of;
    this.say({ case: "end", value: { taskId, fence, seq, phase, outcome } });
    return seq;
  }

  aborted({ taskId, fence }: Of, reason = AbortReason.CANCEL): void {
    this.say({ case: "aborted", value: { taskId, fence, reason } });
  }

  /** Takes an offer of PENDING through to the offer of RUNNING, which it accepts. */
  async prepare(offer: TaskOffer): Promise<TaskOffer> {
    this.accept(offer, RunPhase.PENDING);
    await this.written(offer, this.end(offer, RunPhase.PENDING));
    const running = await this.takeOffer(offer.taskId);
    this.accept(running, RunPhase.RUNNING);
    return running;
  }

  /** The first message of the kind that it was told and that nobody has taken; waits for it. */
  async take<K extends Kind>(
    kind: K,
    is: (value: Values[K]) => boolean = () => true,
    maxMs = 10_000,
  ): Promise<Values[K]> {
    const find = (): Values[K] | undefined => {
      const at = this.#told.findIndex((message) => message.case === kind && is(message.value as Values[K]));
      return at < 0 ? undefined : (this.#told.splice(at, 1)[0]?.value as Values[K]);
    };
    const found = find();
    if (found !== undefined) return found;
    return new Promise((resolve, reject) => {
      const done = (): void => {
        this.#looking.delete(look);
        clearTimeout(timer);
      };
      const look = (): void => {
        const value = find();
        if (value === undefined) return;
        done();
        resolve(value);
      };
      const timer = setTimeout(() => {
        done();
        reject(new Error(`no ${kind} within ${maxMs} ms, but ${JSON.stringify(this.seen)}`));
      }, maxMs);
      this.#looking.add(look);
    });
  }

  takeOffer(taskId: string, maxMs?: number): Promise<TaskOffer> {
    return this.take("offer", (offer) => offer.taskId === taskId, maxMs);
  }

  /** Waits until everything up to `seq` is answered. */
  async written({ fence }: Of, seq: bigint): Promise<void> {
    await this.take("written", (written) => written.fence === fence && written.seq >= seq);
  }

  /** What it was told and nobody has taken: "offer a PENDING 5", "written a 5 1", "refused a 5 1 STALE_FENCE", "abort a 5 CANCEL", "keepalive 1". */
  get seen(): string[] {
    return this.#told.map(describeTold);
  }

  /** Takes all that it was told. */
  takeAll(): Told[] {
    return this.#told.splice(0);
  }

  /** Reads no more, until `resume`. */
  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  /** Closes its side. */
  finish(): void {
    this.#stream.end();
  }

  /** Breaks the stream. */
  async break(): Promise<void> {
    this.#stream.cancel();
    await this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.break();
  }

  #nextSeq({ taskId, fence }: Of): bigint {
    const key = `${taskId} ${fence}`;
    const seq = (this.#seqs.get(key) ?? 0n) + 1n;
    this.#seqs.set(key, seq);
    return seq;
  }
}

function describeTold(told: Told): string {
  switch (told.case) {
    case "keepalive":
      return `keepalive ${told.value.number}`;
    case "offer":
      return `offer ${told.value.taskId} ${RunPhase[told.value.phase]} ${told.value.fence}`;
    case "written":
      return `written ${told.value.taskId} ${told.value.fence} ${told.value.seq}`;
    case "refused": {
      const [detail] = told.value.error?.details ?? [];
      const reason = detail && anyUnpack(detail, ErrorInfoSchema)?.reason;
      return `refused ${told.value.taskId} ${told.value.fence} ${told.value.seq} ${reason ?? told.value.error?.code}`;
    }
    case "abort":
      return `abort ${told.value.taskId} ${told.value.fence} ${AbortReason[told.value.reason]}`;
    default:
      return String(told.case);
  }
}

function readEnd({ code, details, metadata }: StatusObject): GrpcStatus {
  const [bytes] = metadata.get("grpc-status-details-bin");
  const status = bytes === undefined ? undefined : fromBinary(StatusSchema, bytes as Buffer);
  const reasons = (status?.details ?? []).map((detail) => anyUnpack(detail, ErrorInfoSchema)?.reason);
  return { code, message: details, reason: reasons.find((reason) => reason !== undefined) };
}
