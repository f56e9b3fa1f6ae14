// Watchers of tasks. What a message took is counted from the time of its change, which the server's clock told before it was
// committed, to its arrival here: the wait for the disk is in it, and up to a millisecond that the timestamp has cut off.
// Messages are read from streams of Node's http2 core, and of each no more than its time: grpc-js, and the decoding of whole statuses, would take
// several times as long as the server, on the same cores, and be what is measured.
import { connect } from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { build } from "hdr-histogram-js";
import { WatchTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { answerLines } from "./answer-lines.mjs";
import { call, connectTo } from "./grpc-js-client.mjs";

const perConnection = 250;
const launchesAtOnce = 500;
const statusField = 2;
const updateTimeField = 23;
const path = "/stint.v1.TaskControllerService/WatchTask";

let histogram;
let address;

await answerLines({ launch, watch, measure });

/** Launches tasks that set their progress now and then. */
async function launch({ address: server, controller, tasks, everyMs, metadata = { everyMs } }) {
  address = server;
  const client = connectTo(address);
  const requests = Array.from({ length: tasks }, (_, i) => ({
    controller,
    taskId: `task-${i}`,
    payload: { case: "jsonMetadata", value: JSON.stringify(metadata) },
  }));
  while (requests.length > 0) {
    await call(client, "batchLaunchTasks", { requests: requests.splice(0, launchesAtOnce) });
  }
  client.close();
}

/**
 * So many watchers more, each of the next task in turn, of the server of the tasks or of another; resolves when all have had
 * their first message. Slow ones read no other.
 */
async function watch({ address: server = address, controller, tasks, watchers, slow = false }) {
  const begun = [];
  let session;
  for (let i = 0; i < watchers; i += 1) {
    if (i % perConnection === 0) {
      session = connect(`http://${server}`);
      // Its streams say what is wrong, while anybody waits for that; the server may end before this process.
      session.on("error", () => {});
    }
    begun.push(watchOne(session, { controller, taskId: `task-${i % tasks}` }, slow));
  }
  await Promise.all(begun);
}

function watchOne(session, request, slow) {
  const message = toBinary(WatchTaskRequestSchema, create(WatchTaskRequestSchema, request));
  const stream = session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.end(frameOf(message));
  return new Promise((resolve, reject) => {
    let rest = Buffer.alloc(0);
    stream.on("error", reject);
    stream.on("trailers", (trailers) => reject(new Error(`a watch has ended: ${JSON.stringify(trailers)}`)));
    stream.on("data", (chunk) => {
      resolve();
      if (slow) stream.pause();
      rest = rest.byteLength === 0 ? chunk : Buffer.concat([rest, chunk]);
      while (rest.byteLength >= 5 && rest.byteLength >= 5 + rest.readUInt32BE(1)) {
        const end = 5 + rest.readUInt32BE(1);
        note(rest.subarray(5, end));
        rest = rest.subarray(end);
      }
    });
  });
}

function frameOf(message) {
  const frame = Buffer.alloc(5 + message.byteLength);
  frame.writeUInt32BE(message.byteLength, 1);
  frame.set(message, 5);
  return frame;
}

function note(message) {
  if (histogram === undefined) return;
  const status = fieldOf(message, statusField);
  const time = status && fieldOf(status, updateTimeField);
  if (time === undefined) return;
  const reader = new BinaryReader(time);
  let ms = 0;
  while (reader.pos < reader.len) {
    const [no] = reader.tag();
    ms += no === 1 ? Number(reader.int64()) * 1_000 : reader.int32() / 1e6;
  }
  const now = performance.timeOrigin + performance.now();
  histogram.recordValue(Math.max(1, Math.round((now - ms) * 1_000)));
}

/** The bytes of a message's field that is a message. */
function fieldOf(message, wanted) {
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const [no, wireType] = reader.tag();
    if (no === wanted) return reader.bytes();
    reader.skip(wireType);
  }
  return undefined;
}

async function measure({ seconds }) {
  histogram = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 60_000_000,
    numberOfSignificantValueDigits: 3,
  });
  const since = performance.now();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  const events = histogram.totalCount;
  const perSecond = (events * 1_000) / (performance.now() - since);
  const [p50Ms, p99Ms] = [50, 99].map((percent) => histogram.getValueAtPercentile(percent) / 1_000);
  histogram = undefined;
  return { events, perSecond, p50Ms, p99Ms };
}
