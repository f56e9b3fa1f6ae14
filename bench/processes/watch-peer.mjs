// As little as a server of watches in Node can be: streams of the http2 core with the framing done by hand, which are written messages
// of the size of Stint's. Nothing is committed, and nobody is told of anything: what Stint's watches cost above this is its own.
import { createServer } from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { TaskState } from "#gen/core/v1/core_pb.js";
import { WatchTaskResponseSchema } from "#gen/stint/v1/controller_pb.js";
import { answerLines } from "./answer-lines.mjs";

const streams = new Set();
let current = 0n;

await answerLines({ listen, tick });

/** Each stream has a message at once, as a watch has. */
async function listen() {
  const server = createServer({ maxSessionMemory: 64, settings: { maxConcurrentStreams: 10_000 } });
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    stream.on("data", () => {});
    stream.on("close", () => streams.delete(stream));
    stream.respond({ ":status": 200, "content-type": "application/grpc+proto" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.write(message());
    streams.add(stream);
  });
  const port = await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
  return { address: `127.0.0.1:${port}` };
}

/** Every `everyMs` a message for each stream: of one task at the same moment, of as many as there are streams at times of their own. */
function tick({ tasks, everyMs }) {
  if (tasks === 1) {
    setInterval(() => {
      const bytes = message();
      for (const stream of streams) stream.write(bytes);
    }, everyMs);
    return;
  }
  for (const stream of streams) {
    setTimeout(() => setInterval(() => stream.write(message()), everyMs), Math.random() * everyMs);
  }
}

function message() {
  const now = timestampNow();
  current += 1n;
  const status = {
    state: TaskState.Running,
    progress: { current },
    metadata: '{"everyMs":1000}',
    transitions: [
      { state: TaskState.Pending, timestamp: now },
      { state: TaskState.Running, timestamp: now },
    ],
    attempt: 1,
    createTime: now,
    updateTime: now,
    startTime: now,
    runId: "01926f3b-5f6e-7c3a-9d0e-3f1f4b7c9a10",
  };
  const bytes = toBinary(WatchTaskResponseSchema, create(WatchTaskResponseSchema, { revision: current, status }));
  const frame = Buffer.allocUnsafe(5 + bytes.byteLength);
  frame.writeUInt8(0);
  frame.writeUInt32BE(bytes.byteLength, 1);
  frame.set(bytes, 5);
  return frame;
}
