// The load of LaunchTask and BatchLaunchTasks.
//
// closed   so many calls in flight for so many seconds: how many are answered in a second
// open     calls at a rate, whether the ones before were answered or not: how long each took, counted from when it was to
//          be sent. A server that stalls has then made all late that were due meanwhile, and not only one.
// toEnd    so many tasks in batches: how many come to their end in a second
import { build } from "hdr-histogram-js";
import { TaskState } from "#gen/core/v1/core_pb.js";
import { answerLines } from "./answer-lines.mjs";
import { call, connectTo } from "./grpc-js-client.mjs";

const clients = new Map();
let launched = 0;

await answerLines({ closed, open, toEnd });

async function closed({ address, controller, inFlight, seconds, batch }) {
  const client = clientOf(address);
  const since = performance.now();
  const until = since + seconds * 1_000;
  let tasks = 0;
  const callAll = async () => {
    while (performance.now() < until) {
      await (batch === undefined ? launch(client, controller) : launchBatch(client, controller, batch));
      tasks += batch ?? 1;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, callAll));
  return { tasks, perSecond: (tasks * 1_000) / (performance.now() - since) };
}

async function open({ address, controller, perSecond, seconds }) {
  const client = clientOf(address);
  const histogram = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 60_000_000,
    numberOfSignificantValueDigits: 3,
  });
  const calls = [];
  const since = performance.now();
  for (let next = 0; next < perSecond * seconds; ) {
    // The timer keeps to whole milliseconds; what is due by then goes out together.
    await new Promise((resolve) => setTimeout(resolve, 1));
    for (
      let due;
      next < perSecond * seconds && (due = since + (next * 1_000) / perSecond) <= performance.now();
      next += 1
    ) {
      const intended = due;
      calls.push(
        launch(client, controller, intended).then(() => {
          histogram.recordValue(Math.max(1, Math.round((performance.now() - intended) * 1_000)));
        }),
      );
    }
  }
  await Promise.all(calls);
  const [p50, p99, max] = [50, 99, 100].map((percent) => histogram.getValueAtPercentile(percent) / 1_000);
  return { p50Ms: p50, p99Ms: p99, maxMs: max };
}

/** Launches so many tasks in batches; how many a second have come to their end, by the time that all have. */
async function toEnd({ address, controller, tasks, inFlight, batch }) {
  const client = clientOf(address);
  const before = await completed(client, controller);
  const since = performance.now();
  let left = tasks;
  const launchAll = async () => {
    while (left > 0) {
      const count = Math.min(batch, left);
      left -= count;
      await launchBatch(client, controller, count);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, launchAll));
  while ((await completed(client, controller)) < before + tasks)
    await new Promise((resolve) => setTimeout(resolve, 10));
  return { perSecond: (tasks * 1_000) / (performance.now() - since) };
}

async function completed(client, controller) {
  const { controllers } = await call(client, "listControllers", {});
  const { tasks } = controllers.find(({ name }) => name === controller);
  return Number(tasks.find(({ state }) => state === TaskState.Completed)?.count ?? 0n);
}

function launch(client, controller, at = performance.now()) {
  return call(client, "launchTask", request(controller, at));
}

async function launchBatch(client, controller, batch) {
  const requests = Array.from({ length: batch }, () => request(controller, performance.now()));
  const { results } = await call(client, "batchLaunchTasks", { requests });
  const refused = results.find(({ result }) => result.case !== "launched");
  if (refused !== undefined) throw new Error(`refused: ${refused.result.value?.message}`);
}

function request(controller, at) {
  launched += 1;
  const value = `{"n":${launched},"at":${performance.timeOrigin + at}}`;
  return { controller, taskId: `task-${process.pid}-${launched}`, payload: { case: "jsonMetadata", value } };
}

function clientOf(address) {
  const client = clients.get(address) ?? connectTo(address);
  clients.set(address, client);
  return client;
}
