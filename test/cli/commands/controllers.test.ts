import { expect, test } from "vitest";
import { RunnerKind } from "#gen/stint/v1/controller_pb.js";
import { Failed, Running } from "../support/fake-task.ts";
import { parseLines, runCommand } from "../support/run-command.ts";

test("stint controllers shows runners and the number of tasks", async () => {
  const handlers = {
    listControllers: () => ({
      controllers: [
        {
          name: "countdown",
          runnerKind: RunnerKind.MODULE,
          runnersConnected: 1,
          tasks: [
            { state: Running, count: 3n },
            { state: Failed, count: 1n },
          ],
        },
        { name: "x", runnerKind: RunnerKind.REMOTE },
      ],
    }),
  };
  expect((await runCommand(["controllers"], handlers)).out.split("\n")).toEqual([
    "CONTROLLER  RUNNER  CONNECTED  TASKS",
    "countdown   module  1          3 Running, 1 Failed",
    "x           remote  0          none",
    "",
  ]);
  const json = await runCommand(["controllers", "-o", "json"], handlers);
  expect(parseLines(json.out).map((line) => line.name)).toEqual(["countdown", "x"]);
});
