// The calls of the scale benchmark: fills a controller, walks the pages of its list, and measures single ones.
import { TaskOrder } from "#gen/stint/v1/controller_pb.js";
import { answerLines } from "./answer-lines.mjs";
import { call, connectTo } from "./grpc-js-client.mjs";

const atOnce = 500;
/** Of one page, in a measurement; the median of them counts. */
const calls = 15;

let client;

await answerLines({ connect, launch, lastPage, page, counts });

async function connect({ address }) {
  client?.close();
  client = connectTo(address);
}

async function launch({ controller, count }) {
  for (let begun = 0; begun < count; begun += atOnce) {
    const requests = Array.from({ length: atOnce }, (_, i) => ({ controller, taskId: `active-${begun + i}` }));
    await call(client, "batchLaunchTasks", { requests });
  }
}

/** The token of the last page. */
async function lastPage({ controller, order, states }) {
  let pageToken = "";
  for (;;) {
    const request = { controller, orderBy: TaskOrder[order], states, pageSize: 1_000, pageToken };
    const { nextPageToken } = await call(client, "listTasks", request);
    if (nextPageToken === "") return { pageToken };
    pageToken = nextPageToken;
  }
}

async function page({ controller, order, states, pageToken, pageSize }) {
  const request = { controller, orderBy: TaskOrder[order], states, pageToken, pageSize };
  return medianOf(() => call(client, "listTasks", request));
}

async function counts() {
  return medianOf(() => call(client, "listControllers", {}));
}

async function medianOf(one) {
  const times = [];
  for (let i = 0; i < calls; i += 1) {
    const since = performance.now();
    await one();
    times.push(performance.now() - since);
  }
  return { ms: times.sort((a, b) => a - b)[calls >> 1] };
}
