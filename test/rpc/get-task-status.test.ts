import { expect, test } from "vitest";
import { StateRunning } from "../../src/task/state.ts";
import { serveFake } from "../support/served-fake.ts";

const task = { controller: "countdown", taskId: "a" };

test("what a mask does not name is not read", async () => {
  await using served = await serveFake();
  served.controller.put("a", { state: StateRunning });
  const client = served.client();
  await client.getTaskStatus({ ...task, logLimit: 7 });
  await client.getTaskStatus({ ...task, logLimit: 7, readMask: { paths: ["state"] } });
  await client.getTaskStatus({ ...task, logLimit: 7, readMask: { paths: ["result", "logs"] }, revision: 3n });
  expect(served.controller.reads).toEqual([
    { revision: 0n, logLimit: 7, without: [] },
    { revision: 0n, logLimit: 0, without: ["metadata", "result"] },
    { revision: 3n, logLimit: 7, without: ["metadata"] },
  ]);
});
