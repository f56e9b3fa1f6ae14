// A client on Connect: launches a countdown, watches it to its end, over restarts of the server, and reads it back.
//
//   ./connect localhost:7846 my-task
import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { TaskState } from "stint/gen/core/v1/core_pb.js";
import { TaskControllerService } from "stint/gen/stint/v1/controller_pb.js";

const controller = "countdown";
/** How long an answer may take. */
const timeoutMs = 10_000;
const [target, taskId] = process.argv.slice(2);
if (taskId === undefined) throw new Error("usage: connect HOST:PORT TASK_ID");
const client = createClient(
  TaskControllerService,
  createConnectTransport({ baseUrl: `http://${target}`, httpVersion: "2" }),
);

/**
 * Whether the server is away, and not against it: UNAVAILABLE is what it says itself, and what Connect makes of a server that is not there. Where the
 * connection breaks in a call, that is CANCELED, as which nobody else ends a call here, or ABORTED with the error of Node's as its cause, which one
 * of the server's own has not. Where it breaks while the server is stopping, connect-node can miss it, and the call's deadline has to end it.
 */
function isAway(error) {
  if (!(error instanceof ConnectError)) return false;
  const { code, cause } = error;
  const isOver = code === Code.Unavailable || code === Code.Canceled || code === Code.DeadlineExceeded;
  return isOver || (code === Code.Aborted && cause !== undefined);
}

/** Does `body`, again and again while the server is away. */
async function untilServed(body) {
  for (;;) {
    try {
      return await body();
    } catch (error) {
      if (!isAway(error)) throw error;
      console.log("the server is away:", error.message);
      await sleep(200);
    }
  }
}

// The same request id makes it safe to ask again: there is one launch, however often it is asked for.
const { runId } = await untilServed(() =>
  client.launchTask(
    {
      controller,
      taskId,
      payload: { case: "jsonMetadata", value: '{"limit": 40, "intervalMs": 100}' },
      requestId: `connect-${taskId}`,
    },
    { timeoutMs },
  ),
);
console.log("launched run", runId);

// A stream that breaks is continued from the last revision.
let sinceRevision = 0n;
await untilServed(async () => {
  for await (const change of client.watchTask({ controller, taskId, sinceRevision, includeLogs: true })) {
    sinceRevision = change.revision;
    for (const entry of change.logs) console.log("log:", entry.msg);
    const { state, progress } = change.status ?? {};
    if (state === TaskState.Running) console.log(`${progress?.current ?? 0}/${progress?.total ?? 0}`);
  }
});
const { status } = await untilServed(() => client.getTaskStatus({ controller, taskId }, { timeoutMs }));
console.log(TaskState[status?.state ?? 0], status?.result);
