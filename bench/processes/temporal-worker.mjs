// A worker of Temporal's whose workflows have one activity, which does nothing.
import { fileURLToPath } from "node:url";
import { NativeConnection, Runtime, Worker } from "@temporalio/worker";
import { answerLines } from "./answer-lines.mjs";

const quiet = () => {};
Runtime.install({
  logger: {
    log: quiet,
    trace: quiet,
    debug: quiet,
    info: quiet,
    warn: quiet,
    error: (...said) => console.error(...said),
  },
});

async function nothing() {}

await answerLines({
  /** Connects to the server, and resolves when it takes what there is to do. */
  async connect({ address, taskQueue }) {
    const connection = await NativeConnection.connect({ address });
    const workflowsPath = fileURLToPath(new URL("temporal-workflows.mjs", import.meta.url));
    const worker = await Worker.create({ connection, taskQueue, workflowsPath, activities: { nothing } });
    worker.run().catch((error) => console.error(error));
  },
});
