/** A server of TaskRunnerService on a socket of this machine, which speaks the protocol of docs/protocol.md and keeps no tasks: the test is its controller. */
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import * as grpc from "@grpc/grpc-js";
import {
  type AbortReason,
  type PhaseEnd,
  RunPhase,
  type RunRequest,
  RunRequestSchema,
  type RunResponse,
  RunResponseSchema,
  type RunnerHello,
  type TaskOfferSchema,
  TaskRunnerService,
} from "#gen/stint/v1/runner_pb.js";
import { eventually } from "./eventually.ts";

type Call = grpc.ServerDuplexStream<RunRequest, RunResponse>;
type Said = Exclude<RunRequest["message"], { case: undefined }>;
type ValueOf<K extends Said["case"]> = Extract<Said, { case: K }>["value"];

/** One stream of a runner. Keepalives are answered by themselves, and so are writes and ends, unless `answers` is false, and the runner's leaving. */
export class FakeRunnerStream {
  readonly said: Said[] = [];
  /** When each keepalive came, by the monotonic clock. */
  readonly keepaliveTimes: number[] = [];
  answers = true;
  isHalfClosed = false;
  isGone = false;
  readonly #call: Call;

  constructor(call: Call) {
    this.#call = call;
    call.on("data", ({ message }: RunRequest) => {
      if (message.case !== undefined) this.#take(message);
    });
    call.on("end", () => {
      this.isHalfClosed = true;
      call.end();
    });
    call.on("cancelled", () => (this.isGone = true));
    call.on("error", () => (this.isGone = true));
  }

  get hello(): RunnerHello {
    return this.first("hello");
  }

  /** The messages of one kind, in order. */
  of<K extends Said["case"]>(kind: K): ValueOf<K>[] {
    return this.said.filter((message) => message.case === kind).map(({ value }) => value as ValueOf<K>);
  }

  first<K extends Said["case"]>(kind: K): ValueOf<K> {
    const [message] = this.of(kind);
    if (message === undefined) throw new Error(`no ${kind} has come, only ${this.said.map((each) => each.case)}`);
    return message;
  }

  /** Resolves to the end of a phase of the task, when it has come. */
  async ended(fence: bigint, phase: RunPhase, maxMs?: number): Promise<PhaseEnd> {
    let found: PhaseEnd | undefined;
    await eventually(() => {
      found = this.of("end").find((end) => end.fence === fence && end.phase === phase);
      if (found === undefined) throw new Error(`phase ${phase} of ${fence} has not ended`);
    }, maxMs);
    return found as PhaseEnd;
  }

  send(message: MessageInitShape<typeof RunResponseSchema>["message"]): void {
    this.#call.write(create(RunResponseSchema, { message }));
  }

  offer(fence: bigint, phase: RunPhase, init: MessageInitShape<typeof TaskOfferSchema> = {}): void {
    this.send({ case: "offer", value: { taskId: `t${fence}`, runId: "run", attempt: 1, fence, phase, ...init } });
  }

  /** Runs a task through both phases, as a server does; resolves to its end. */
  async run(fence: bigint, status: MessageInitShape<typeof TaskOfferSchema>["status"] = {}): Promise<PhaseEnd> {
    this.offer(fence, RunPhase.PENDING, { status });
    const pending = await this.ended(fence, RunPhase.PENDING);
    if (pending.outcome.case !== "done") return pending;
    this.offer(fence, RunPhase.RUNNING, { status });
    return this.ended(fence, RunPhase.RUNNING);
  }

  written(fence: bigint, seq: bigint): void {
    this.send({ case: "written", value: { taskId: `t${fence}`, fence, seq } });
  }

  refuse(fence: bigint, seq: bigint, code: grpc.status): void {
    this.send({ case: "refused", value: { taskId: `t${fence}`, fence, seq, error: { code, message: "stale" } } });
  }

  abort(fence: bigint, reason: AbortReason): void {
    this.send({ case: "abort", value: { taskId: `t${fence}`, fence, reason } });
  }

  fail(code: grpc.status, details: string): void {
    this.#call.emit("error", { code, details });
  }

  #take(message: Said): void {
    if (message.case === "keepalive") {
      this.keepaliveTimes.push(performance.now());
      this.send(message);
      return;
    }
    this.said.push(message);
    if (this.answers && (message.case === "write" || message.case === "end")) {
      this.written(message.value.fence, message.value.seq);
    }
  }
}

export interface FakeRunnerServer extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  readonly streams: FakeRunnerStream[];
  /** Resolves to the stream with this number, counted from 0, when its hello has come and was answered with a welcome. */
  stream(index?: number, maxMs?: number): Promise<FakeRunnerStream>;
  /** What becomes of a hello in the place of a welcome. */
  refuseHello: { code: grpc.status; details: string } | undefined;
  /** Breaks every connection, and takes no more. */
  kill(): void;
}

export interface FakeRunnerServerOptions {
  readonly port?: number;
  /** Default 3,000. */
  readonly leaseMs?: number;
  /** Which of the tasks in a hello are still the runner's; default all, with nothing written. */
  readonly keeps?: (fence: bigint) => boolean;
  /** The certificate and key to serve with (PEM); default in the clear. */
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer };
}

export async function openFakeRunnerServer(options: FakeRunnerServerOptions = {}): Promise<FakeRunnerServer> {
  const { port = 0, leaseMs = 3_000, keeps = () => true, tls } = options;
  const credentials =
    tls === undefined
      ? grpc.ServerCredentials.createInsecure()
      : grpc.ServerCredentials.createSsl(null, [{ cert_chain: tls.cert, private_key: tls.key }]);
  const server = new grpc.Server();
  const streams: FakeRunnerStream[] = [];
  const { method } = TaskRunnerService;
  const run = {
    path: `/${TaskRunnerService.typeName}/${method.run.name}`,
    requestStream: true,
    responseStream: true,
    requestSerialize: (message: RunRequest) => Buffer.from(toBinary(RunRequestSchema, message)),
    requestDeserialize: (bytes: Buffer) => fromBinary(RunRequestSchema, bytes),
    responseSerialize: (message: RunResponse) => Buffer.from(toBinary(RunResponseSchema, message)),
    responseDeserialize: (bytes: Buffer) => fromBinary(RunResponseSchema, bytes),
  };
  const welcomed = new Set<FakeRunnerStream>();
  const handle = (call: Call): void => {
    const stream = new FakeRunnerStream(call);
    streams.push(stream);
    call.once("data", () => {
      if (fake.refuseHello !== undefined) return stream.fail(fake.refuseHello.code, fake.refuseHello.details);
      const held = stream.hello.held.filter(({ fence }) => keeps(fence));
      const keepalive = durationFromMs(Math.floor(leaseMs / 3));
      const value = { lease: durationFromMs(leaseMs), keepalive, offerTimeout: keepalive, held, protocolVersion: 1 };
      stream.send({ case: "welcome", value });
      welcomed.add(stream);
    });
  };
  server.addService({ run }, { run: handle });
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, credentials, (error, at) => (error ? reject(error) : resolve(at)));
  });
  const fake: FakeRunnerServer = {
    address: `127.0.0.1:${bound}`,
    port: bound,
    streams,
    refuseHello: undefined,
    async stream(index = 0, maxMs = 15_000) {
      await eventually(() => {
        const stream = streams[index];
        if (stream === undefined || !welcomed.has(stream)) throw new Error(`there is no stream ${index} yet`);
      }, maxMs);
      return streams[index] as FakeRunnerStream;
    },
    kill: () => server.forceShutdown(),
    async [Symbol.asyncDispose]() {
      server.forceShutdown();
    },
  };
  return fake;
}
