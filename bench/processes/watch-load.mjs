// Watchers of tasks. What a message took is counted from the time of its change, which the server's clock told before it was
// committed, to its arrival here: the wait for the disk is in it, and up to a millisecond that the timestamp has cut off.
import { build } from "hdr-histogram-js";
import { answerLines } from "./answer-lines.mjs";
import { call, connectTo, stream } from "./grpc-js-client.mjs";

const perConnection = 250;
const launchesAtOnce = 500;

let histogram;
let address;

await answerLines({ launch, watch, measure });

/** Launches tasks that set their progress now and then. */
async function launch({ address: server, controller, tasks, everyMs }) {
  address = server;
  const client = connectTo(address);
  const requests = Array.from({ length: tasks }, (_, i) => ({
    controller,
    taskId: `task-${i}`,
    payload: { case: "jsonMetadata", value: JSON.stringify({ everyMs }) },
  }));
  while (requests.length > 0) {
    await call(client, "batchLaunchTasks", { requests: requests.splice(0, launchesAtOnce) });
  }
  client.close();
}

/** So many watchers more, each of the next task in turn; resolves when all have had their first message. */
async function watch({ controller, tasks, watchers }) {
  const begun = [];
  let client;
  for (let i = 0; i < watchers; i += 1) {
    if (i % perConnection === 0) client = connectTo(address);
    const watched = stream(client, "watchTask", { controller, taskId: `task-${i % tasks}` });
    begun.push(
      new Promise((resolve, reject) => {
        watched.on("error", reject);
        watched.on("data", (message) => {
          resolve();
          note(message);
        });
      }),
    );
  }
  await Promise.all(begun);
}

function note({ status }) {
  if (histogram === undefined || status === undefined) return;
  const { seconds, nanos } = status.updateTime;
  const now = performance.timeOrigin + performance.now();
  histogram.recordValue(Math.max(1, Math.round((now - Number(seconds) * 1_000 - nanos / 1e6) * 1_000)));
}

async function measure({ seconds }) {
  histogram = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 60_000_000,
    numberOfSignificantValueDigits: 3,
  });
  const since = performance.now();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  const perSecond = (histogram.totalCount * 1_000) / (performance.now() - since);
  const [p50Ms, p99Ms] = [50, 99].map((percent) => histogram.getValueAtPercentile(percent) / 1_000);
  histogram = undefined;
  return { perSecond, p50Ms, p99Ms };
}
