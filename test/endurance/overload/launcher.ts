/**
 * A process that launches batches of tasks at a rate, whether they are answered or not, and in the end prints what became of them, as JSON on one line:
 * launcher.ts URL CALLS_PER_SECOND SECONDS IN_FLIGHT_MAX. With a rate of 0 it begins a call whenever fewer than that are in flight. Answers are decoded
 * when all is over, so that little of the machine goes to it meanwhile. Meanwhile it asks for something else too, now and then and over the same connections: a refusal that
 * takes longer than that has waited for something.
 */
import { connect, type ClientHttp2Session, type IncomingHttpHeaders } from "node:http2";
import { setTimeout as sleep } from "node:timers/promises";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { type Status, StatusSchema } from "#gen/google/rpc/status_pb.js";
import {
  BatchLaunchTasksRequestSchema,
  BatchLaunchTasksResponseSchema,
  GetServerInfoRequestSchema,
} from "#gen/stint/v1/controller_pb.js";
import { envelope, grpcHeaders } from "../../support/raw-http.ts";
import { batchSize } from "./overload.ts";

export interface Launched {
  /** Ids of tasks that were acknowledged. */
  readonly acknowledged: string[];
  /** How often, by code, calls and single launches of a batch were refused. */
  readonly refused: Record<string, number>;
  /** Refusals as RESOURCE_EXHAUSTED that did not say when to come again. */
  readonly withoutRetryInfo: number;
  /** How long each refused call took, in ms. */
  readonly refusedMs: number[];
  /** How long each of the other calls took meanwhile, in ms. */
  readonly othersMs: number[];
  readonly calls: number;
  /** Calls that were not made, as too many were in flight. */
  readonly unsent: number;
  /** How many tasks were acknowledged in how long; what came after that is no part of it. */
  readonly timely: number;
  readonly seconds: number;
}

interface Answer {
  readonly tookMs: number;
  readonly status: string;
  readonly details: string | undefined;
  readonly body: Buffer;
}

const sessionsCount = 8;
const tickMs = 10;
const othersEveryMs = 20;
const service = "/stint.v1.TaskControllerService";
const launches = Array.from({ length: batchSize }, () => ({ controller: "quick" }));
// Without ids, so that the same bytes launch new tasks each time.
const launching = {
  path: `${service}/BatchLaunchTasks`,
  request: envelope(
    toBinary(BatchLaunchTasksRequestSchema, create(BatchLaunchTasksRequestSchema, { requests: launches })),
  ),
};
const asking = {
  path: `${service}/GetServerInfo`,
  request: envelope(toBinary(GetServerInfoRequestSchema, create(GetServerInfoRequestSchema))),
};

function call(session: ClientHttp2Session, { path, request }: { path: string; request: Uint8Array }): Promise<Answer> {
  const fromMs = performance.now();
  return new Promise((resolve) => {
    const stream = session.request({ ...grpcHeaders, "grpc-timeout": "20S", ":path": path });
    const chunks: Buffer[] = [];
    const said: IncomingHttpHeaders = {};
    stream.on("response", (first) => Object.assign(said, first));
    stream.on("trailers", (last) => Object.assign(said, last));
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", () => {});
    stream.on("close", () =>
      resolve({
        tookMs: performance.now() - fromMs,
        status: textOf(said["grpc-status"]) ?? "none",
        details: textOf(said["grpc-status-details-bin"]),
        body: Buffer.concat(chunks),
      }),
    );
    stream.end(request);
  });
}

function textOf(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}

function says(status: Status): boolean {
  return status.details.some(({ typeUrl }) => typeUrl.endsWith("google.rpc.RetryInfo"));
}

function judge(answers: readonly Answer[]): Omit<Launched, "calls" | "unsent" | "timely" | "seconds" | "othersMs"> {
  const acknowledged: string[] = [];
  const refused: Record<string, number> = {};
  let withoutRetryInfo = 0;
  const refusedMs: number[] = [];
  const count = (status: Status, kind: string): void => {
    const name = `${kind} ${Code[status.code] ?? status.code}`;
    refused[name] = (refused[name] ?? 0) + 1;
    if (status.code === Code.ResourceExhausted && !says(status)) withoutRetryInfo += 1;
  };
  for (const { status, details, body, tookMs } of answers) {
    if (status !== "0") {
      const detailed = details === undefined ? undefined : fromBinary(StatusSchema, Buffer.from(details, "base64"));
      count(detailed ?? create(StatusSchema, { code: Number(status) || 0 }), "call");
      refusedMs.push(tookMs);
      continue;
    }
    for (const { result } of fromBinary(BatchLaunchTasksResponseSchema, body.subarray(5)).results) {
      if (result.case === "launched") acknowledged.push(result.value.taskId);
      else if (result.case === "error") count(result.value, "launch");
    }
  }
  return { acknowledged, refused, withoutRetryInfo, refusedMs };
}

async function main([url = "", rate = "0", maxSeconds = "1", inFlightMax = "1"]: readonly string[]): Promise<Launched> {
  const sessions = Array.from({ length: sessionsCount }, () => connect(url).on("error", () => {}));
  const answers: Answer[] = [];
  const under = new Set<Promise<void>>();
  const begunMs = performance.now();
  let calls = 0;
  let unsent = 0;
  const othersMs: number[] = [];
  let asked = 0;
  const others = setInterval(() => {
    const session = sessions[asked % sessionsCount] as ClientHttp2Session;
    asked += 1;
    void call(session, asking).then(({ status, tookMs }) => (status === "0" ? othersMs.push(tookMs) : undefined));
  }, othersEveryMs);
  const begin = (): void => {
    const one: Promise<void> = call(sessions[calls % sessionsCount] as ClientHttp2Session, launching)
      .then((answer) => void answers.push(answer))
      .finally(() => under.delete(one));
    under.add(one);
    calls += 1;
  };
  for (let due = 0; performance.now() - begunMs < Number(maxSeconds) * 1_000; ) {
    due = ((performance.now() - begunMs) / 1_000) * Number(rate);
    while (rate === "0" ? under.size < Number(inFlightMax) : calls + unsent < due) {
      if (under.size < Number(inFlightMax)) begin();
      else unsent += 1;
    }
    if (rate === "0") await Promise.race(under);
    else await sleep(tickMs);
  }
  const seconds = (performance.now() - begunMs) / 1_000;
  const inTime = [...answers];
  clearInterval(others);
  await Promise.all(under);
  for (const session of sessions) session.destroy();
  return { ...judge(answers), calls, unsent, timely: judge(inTime).acknowledged.length, seconds, othersMs };
}

const printed = JSON.stringify(await main(process.argv.slice(2)));
process.stdout.write(`${printed}\n`);
