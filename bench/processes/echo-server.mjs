// A server that decodes each LaunchTaskRequest and answers with a LaunchTaskResponse as Stint's, and does nothing else:
// echo-server.mjs connect | grpc-js | http2. What of a call is the library's and not Stint's is what this one costs.
// That on Node's http2 core has BatchLaunchTasks, too.
import { createServer } from "node:http2";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { TaskState } from "#gen/core/v1/core_pb.js";
import {
  BatchLaunchTasksRequestSchema,
  BatchLaunchTasksResponseSchema,
  LaunchOutcome,
  LaunchTaskRequestSchema,
  LaunchTaskResponseSchema,
  TaskControllerService,
} from "#gen/stint/v1/controller_pb.js";
import { answerLines } from "./answer-lines.mjs";

const path = `/${TaskControllerService.typeName}/LaunchTask`;
const kinds = { connect: listenConnect, "grpc-js": listenGrpcJs, http2: listenHttp2 };
const runId = "01926f3b-5f6e-7c3a-9d0e-3f1f4b7c9a10";

/** What the http2 core answers a request's bytes with, by its path. */
const methods = {
  [path]: (bytes) => toBinary(LaunchTaskResponseSchema, answer(fromBinary(LaunchTaskRequestSchema, bytes))),
  [`/${TaskControllerService.typeName}/BatchLaunchTasks`]: (bytes) =>
    toBinary(BatchLaunchTasksResponseSchema, answerBatch(fromBinary(BatchLaunchTasksRequestSchema, bytes))),
};

await answerLines({
  listen: async () => ({ address: `127.0.0.1:${await kinds[process.argv[2]]()}` }),
});

function answer({ taskId, payload }) {
  const now = timestampNow();
  const status = {
    state: TaskState.Pending,
    metadata: payload.value,
    transitions: [{ state: TaskState.Pending, timestamp: now }],
    createTime: now,
    updateTime: now,
    runId,
    waitingFor: "no runner is connected",
  };
  return create(LaunchTaskResponseSchema, {
    taskId,
    runId,
    status,
    revision: 123_456n,
    outcome: LaunchOutcome.LAUNCHED,
  });
}

function answerBatch({ requests }) {
  const results = requests.map(({ taskId }) => {
    const value = { taskId, runId, revision: 123_456n, outcome: LaunchOutcome.LAUNCHED };
    return { result: { case: "launched", value } };
  });
  return create(BatchLaunchTasksResponseSchema, { results });
}

function listenConnect() {
  const routes = (router) => router.service(TaskControllerService, { launchTask: answer });
  return portOf(createServer(connectNodeAdapter({ routes })));
}

function listenGrpcJs() {
  const server = new Server();
  const launchTask = {
    path,
    requestStream: false,
    responseStream: false,
    requestSerialize: (message) => Buffer.from(toBinary(LaunchTaskRequestSchema, message)),
    requestDeserialize: (bytes) => fromBinary(LaunchTaskRequestSchema, bytes),
    responseSerialize: (message) => Buffer.from(toBinary(LaunchTaskResponseSchema, message)),
    responseDeserialize: (bytes) => fromBinary(LaunchTaskResponseSchema, bytes),
  };
  server.addService({ launchTask }, { launchTask: ({ request }, reply) => reply(null, answer(request)) });
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    );
  });
}

/** The core API, with the framing by hand: as little as a gRPC server in Node can do. */
function listenHttp2() {
  const server = createServer();
  server.on("stream", (stream, headers) => {
    const chunks = [];
    stream.on("error", () => {});
    stream.on("data", (chunk) => chunks.push(chunk));
    stream.on("end", () => {
      const message = methods[headers[":path"]](Buffer.concat(chunks).subarray(5));
      const frame = Buffer.allocUnsafe(5 + message.byteLength);
      frame.writeUInt8(0);
      frame.writeUInt32BE(message.byteLength, 1);
      frame.set(message, 5);
      stream.respond({ ":status": 200, "content-type": "application/grpc+proto" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.end(frame);
    });
  });
  return portOf(server);
}

function portOf(server) {
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
}
