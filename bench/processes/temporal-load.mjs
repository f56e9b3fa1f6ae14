// The load of Temporal's server: so many workflows of one activity in flight for so many seconds, each from its start to its result.
import { Client, Connection } from "@temporalio/client";
import { answerLines } from "./answer-lines.mjs";

let client;
let started = 0;

await answerLines({
  async connect({ address }) {
    client = new Client({ connection: await Connection.connect({ address }) });
  },
  async closed({ taskQueue, inFlight, seconds }) {
    const since = performance.now();
    const until = since + seconds * 1_000;
    let ended = 0;
    const startAll = async () => {
      while (performance.now() < until) {
        await client.workflow.execute("task", { taskQueue, workflowId: `task-${(started += 1)}` });
        ended += 1;
      }
    };
    await Promise.all(Array.from({ length: inFlight }, startAll));
    return { perSecond: (ended * 1_000) / (performance.now() - since) };
  },
});
