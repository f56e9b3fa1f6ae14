import { describe, expect, test } from "vitest";
import { StateCompleted, StateRunning } from "../../src/task/state.ts";
import { protocolNames, serveFake } from "../support/served-fake.ts";

describe("one port", () => {
  test.each(protocolNames)("serves unary calls and streams over %s", async (protocol) => {
    await using served = await serveFake();
    const client = served.client(protocol);
    const launched = await client.launchTask({ controller: "countdown", taskId: "a", labels: { env: "test" } });
    expect(launched).toMatchObject({ taskId: "a", runId: "run-a" });
    const { status } = await client.getTaskStatus({ controller: "countdown", taskId: "a" });
    expect(status?.labels).toEqual({ env: "test" });

    const states: (number | undefined)[] = [];
    for await (const change of client.watchTask({ controller: "countdown", taskId: "a" })) {
      states.push(change.status?.state);
      if (states.length === 1) served.controller.put("a", { state: StateRunning });
      if (states.length === 2) served.controller.put("a", { state: StateCompleted });
    }
    expect(states).toEqual([1, 2, 3]);
    expect(served.controller.openWatches).toBe(0);
  });
});
