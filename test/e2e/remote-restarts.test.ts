/**
 * Remote runners in Node, with the server killed under them again and again. REMOTE_RESTARTS: how often (default 3). Needs dist/
 * (npm run build).
 */
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { restartUnderLoad } from "./remote/restarts.ts";
import { controller, openRemoteWorld } from "./remote/world.ts";

const restarts = Number(process.env["REMOTE_RESTARTS"] ?? 3);
const cancels = 20;
const maxMs = 60_000;

test("runners work on while the server is killed and started again, and nothing acknowledged is lost", {
  timeout: 180_000 + restarts * 60_000,
}, async () => {
  console.log(`remote restarts: ${await restartUnderLoad({ restarts, tasks: 10 * restarts }, ["node", "node"])}`);
});

test("a cancel reaches the code of a remote runner", { timeout: 120_000 }, async () => {
  await using world = await openRemoteWorld(100);
  world.start("node");
  const took: number[] = [];
  for (let n = 0; n < cancels; n += 1) {
    const taskId = `c${n}`;
    await world.launch(1_000, taskId);
    await eventually(async () => {
      if (!(await world.ledger()).some((fact) => fact.task === taskId)) throw new Error("the task has not begun");
    }, maxMs);
    const fromMs = performance.timeOrigin + performance.now();
    await world.server.client.cancelTask({ controller, taskId });
    await eventually(async () => {
      const told = (await world.ledger()).find((fact) => fact.task === taskId && "toldAtMs" in fact);
      if (told === undefined || !("toldAtMs" in told)) throw new Error("the task was not told");
      took.push(told.toldAtMs - fromMs);
    }, maxMs);
  }
  took.sort((a, b) => a - b);
  const median = took[took.length / 2] ?? Number.NaN;
  expect(took).toHaveLength(cancels);
  console.log(
    `remote cancels: ${median.toFixed(1)} ms in the median of ${cancels}, ${took.at(-1)?.toFixed(1)} ms at most`,
  );
});
