/**
 * What clients and runners say of their tasks is in no line of a server's log, at whatever level. (What onTaskCompleted throws is: nobody else is
 * told of it.) Needs dist/ (npm run build).
 */
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterEach, expect, test, vi } from "vitest";
import { TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import type { ActiveTask, TaskContext } from "../../src/controller/task-runner.ts";
import { silentLog } from "../../src/log.ts";
import { runRemote } from "../../src/runner-client/run-remote.ts";
import { StateCanceled, StateCompleted, StateFailed } from "../../src/task/state.ts";
import { canary } from "../support/canary.ts";
import { callError } from "../support/call-error.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { serveProgram } from "../support/served-program.ts";

const secret = { token: canary };

/** Says the canary wherever a runner can say something; what it does at last is in the metadata. */
const runner = {
  async onTaskRunning(task: ActiveTask, { signal }: TaskContext) {
    const { then } = (await task.loadTaskMetadata()) as { then: string };
    await task.addLogEntry("error", canary);
    await task.setProgress({ current: 1, total: 2, message: canary, unit: canary });
    if (then === "fail") throw new Error(canary, { cause: new Error(canary) });
    if (then === "wait")
      await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    return secret;
  },
};

afterEach(() => vi.unstubAllEnvs());

test("nothing of metadata, labels, progress, logs, results, errors, reasons, request ids and headers is logged", {
  timeout: 60_000,
}, async () => {
  vi.stubEnv("STINT_LOG_LEVEL", "debug");
  await using scratch = await makeScratchDirectory();
  await using served = await serveProgram(scratch.path);
  const tasks = createClient(TaskControllerService, createGrpcTransport({ baseUrl: served.baseUrl }));
  const controller = "secrets";
  const target = `127.0.0.1:${served.port}`;
  const remote = runRemote({ target, controller, runner, capacity: 4, signals: [], drainMs: 0, log: silentLog });
  await vi.waitFor(() => tasks.listTasks({ controller }), 20_000);
  const headers = { authorization: `Bearer ${canary}`, "x-secret": canary };
  const launch = (taskId: string, then: string) =>
    tasks.launchTask(
      {
        controller,
        taskId,
        labels: { secret: canary },
        requestId: `${canary}-${taskId}`,
        payload: { case: "jsonMetadata", value: JSON.stringify({ then, ...secret }) },
      },
      { headers },
    );
  await Promise.all([launch("done", "end"), launch("failed", "fail"), launch("canceled", "wait")]);
  await vi.waitFor(async () => {
    const { status } = await tasks.getTaskStatus({ controller, taskId: "canceled" });
    expect(status?.progress?.message).toBe(canary);
  }, 20_000);
  await tasks.cancelTask({ controller, taskId: "canceled", reason: canary });
  const ends = { done: StateCompleted, failed: StateFailed, canceled: StateCanceled };
  for (const [taskId, state] of Object.entries(ends)) {
    expect((await tasks.waitTask({ controller, taskId })).status?.state, taskId).toBe(state);
  }
  // What is refused.
  const json = { case: "jsonMetadata", value: `{"${canary}":` } as const;
  expect((await callError(tasks.launchTask({ controller, taskId: "bad", payload: json }))).code).toBe(
    "InvalidArgument",
  );
  expect((await callError(tasks.launchTask({ controller, taskId: `${canary} !` }))).code).toBe("InvalidArgument");
  expect((await callError(tasks.listTasks({ controller, pageToken: canary }))).code).toBe("InvalidArgument");
  const reused = { controller, taskId: "other", requestId: `${canary}-done` };
  expect((await callError(tasks.launchTask(reused))).code).toBe("AlreadyExists");
  await fetch(`${served.baseUrl}/${canary}?${canary}`, { method: "POST", body: `{${canary}`, headers });
  await remote.drain();
  served.kill("SIGTERM");
  expect(await served.exited).toMatchObject({ code: 0 });
  expect(served.log.map(({ msg }) => msg)).toContain("the server has stopped");
  expect(JSON.stringify(served.log)).not.toContain(canary);
});
