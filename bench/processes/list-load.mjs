// The calls of the scale benchmark: fills a controller, walks the pages of its list, and measures single ones.
import { TaskState } from "#gen/core/v1/core_pb.js";
import { TaskOrder } from "#gen/stint/v1/controller_pb.js";
import { answerLines } from "./answer-lines.mjs";
import { call, connectTo } from "./grpc-js-client.mjs";

const atOnce = 500;
const endingAtOnce = 64;
/** Of one page, in a measurement; the median of them counts. */
const calls = 15;

let client;

await answerLines({ connect, launchActive, lastPage, page, counts, launch, get, pages, remove });

async function connect({ address }) {
  client?.close();
  client = connectTo(address);
}

/** New runs: those that a store which was kept has are ended first, as each start has given them transitions, and a run that is cancelled takes its own with it. */
async function launchActive({ controller, count }) {
  await endActive(controller);
  for (let begun = 0; begun < count; begun += atOnce) {
    const requests = Array.from({ length: atOnce }, (_, i) => ({ controller, taskId: `active-${begun + i}` }));
    await call(client, "batchLaunchTasks", { requests });
  }
}

async function endActive(controller) {
  const states = [TaskState.Pending, TaskState.Running];
  for (;;) {
    const { tasks } = await call(client, "listTasks", { controller, states, pageSize: 1_000 });
    if (tasks.length === 0) return;
    const taskIds = tasks.map(({ taskId }) => taskId);
    await each(taskIds, endingAtOnce, async (taskId) => {
      await call(client, "cancelTask", { controller, taskId });
      await call(client, "waitTask", { controller, taskId });
    });
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

/** The calls below are made so many at one time, each for another task or page; what one took on the whole is answered. */
async function launch({ controller, taskIds, inFlight }) {
  const payload = { case: "jsonMetadata", value: '{"ends":true}' };
  return each(taskIds, inFlight, (taskId) => call(client, "launchTask", { controller, taskId, payload }));
}

async function get({ controller, taskIds, inFlight }) {
  return each(taskIds, inFlight, (taskId) => call(client, "getTaskStatus", { controller, taskId }));
}

async function remove({ controller, taskIds, inFlight }) {
  return each(taskIds, inFlight, (taskId) => call(client, "deleteTask", { controller, taskId }));
}

/** The pages behind these tasks. */
async function pages({ controller, order, states, taskIds, pageSize, inFlight }) {
  const request = { controller, orderBy: TaskOrder[order], states };
  const { nextPageToken } = await call(client, "listTasks", { ...request, pageSize: 1 });
  const pageTokens = [];
  for (const taskId of taskIds) {
    const { status } = await call(client, "getTaskStatus", { controller, taskId });
    pageTokens.push(tokenAt(nextPageToken, placeOf(taskId, order, status)));
  }
  return each(pageTokens, inFlight, (pageToken) => call(client, "listTasks", { ...request, pageSize, pageToken }));
}

/**
 * The token of another place in the same list. What is in a token is the server's own affair, but the way to the middle of a long list by its tokens is long,
 * and one that was kept is as of the revision that it was made at: all that has changed since would be read from the history.
 */
function tokenAt(token, place) {
  const [query, revision] = JSON.parse(Buffer.from(token, "base64url").toString());
  return Buffer.from(JSON.stringify([query, revision, place])).toString("base64url");
}

function placeOf(taskId, order, { createTime }) {
  if (order === "ID") return taskId;
  const ms = Number(createTime.seconds) * 1_000 + Math.floor(createTime.nanos / 1e6);
  return `${String(10 ** 15 - 1 - ms).padStart(15, "0")}/${taskId}`;
}

async function each(all, inFlight, one) {
  const left = all.values();
  const since = performance.now();
  const callAll = async () => {
    for (const next of left) await one(next);
  };
  await Promise.all(Array.from({ length: inFlight }, callAll));
  return { ms: (performance.now() - since) / all.length };
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
