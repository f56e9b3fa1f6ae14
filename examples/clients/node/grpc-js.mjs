// A client on grpc-js: launches a countdown, watches it to its end, over restarts of the server, and reads it back.
//
//   ./grpc-js localhost:7846 my-task
import { setTimeout as sleep } from "node:timers/promises";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { credentials, makeGenericClientConstructor, status as code } from "@grpc/grpc-js";
import { TaskState } from "stint/gen/core/v1/core_pb.js";
import { TaskControllerService } from "stint/gen/stint/v1/controller_pb.js";

const controller = "countdown";
const [target, taskId] = process.argv.slice(2);
if (taskId === undefined) throw new Error("usage: grpc-js HOST:PORT TASK_ID");

/** What grpc-js needs to know of each method, out of the generated description. */
const methods = Object.fromEntries(
  TaskControllerService.methods.map((method) => [
    method.localName,
    {
      path: `/${TaskControllerService.typeName}/${method.name}`,
      requestStream: false,
      responseStream: method.methodKind === "server_streaming",
      requestSerialize: (message) => Buffer.from(toBinary(method.input, create(method.input, message))),
      requestDeserialize: (bytes) => fromBinary(method.input, bytes),
      responseSerialize: (message) => Buffer.from(toBinary(method.output, message)),
      responseDeserialize: (bytes) => fromBinary(method.output, bytes),
    },
  ]),
);
const Client = makeGenericClientConstructor(methods, TaskControllerService.typeName);
const client = new Client(target, credentials.createInsecure(), { "grpc.max_reconnect_backoff_ms": 500 });

/** A unary call as a promise, repeated while the server is away. */
async function call(name, request) {
  for (;;) {
    try {
      return await new Promise((resolve, reject) => {
        client[name](request, (error, answer) => (error ? reject(error) : resolve(answer)));
      });
    } catch (error) {
      if (error.code !== code.UNAVAILABLE) throw error;
      await sleep(200);
    }
  }
}

/** Prints what becomes of the task until it has ended. A stream that breaks is continued from the last revision. */
async function watch() {
  let sinceRevision = 0n;
  for (;;) {
    try {
      for await (const change of client.watchTask({ controller, taskId, sinceRevision, includeLogs: true })) {
        sinceRevision = change.revision;
        for (const entry of change.logs) console.log("log:", entry.msg);
        const { state, progress } = change.status ?? {};
        if (state === TaskState.Running) console.log(`${progress?.current ?? 0}/${progress?.total ?? 0}`);
      }
      return;
    } catch (error) {
      if (error.code !== code.UNAVAILABLE) throw error;
      console.log("the server is away; going on from revision", String(sinceRevision));
      await sleep(200);
    }
  }
}

// The same request id makes it safe to ask again: there is one launch, however often it is asked for.
const { runId } = await call("launchTask", {
  controller,
  taskId,
  payload: { case: "jsonMetadata", value: '{"limit": 40, "intervalMs": 100}' },
  requestId: `grpc-js-${taskId}`,
});
console.log("launched run", runId);
await watch();
const { status } = await call("getTaskStatus", { controller, taskId });
console.log(TaskState[status.state], status.result);
client.close();
