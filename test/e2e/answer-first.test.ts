/** A runner that keeps the thread, against the process of `stint serve`. Needs dist/ (npm run build). */
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { StateCompleted } from "../../src/task/state.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { ServedProcess } from "../support/served-process.ts";

const launches = 6;

/** Keeps the thread until it is let go, and for 2 s at most. */
const runnerSource = `
  import { existsSync, writeFileSync } from "node:fs";
  const pause = new Int32Array(new SharedArrayBuffer(4));
  export const runner = {
    onTaskRunning(task: any) {
      const path = import.meta.dirname + "/" + task.taskId;
      for (let i = 0; i < 200 && !existsSync(path + ".go"); i += 1) Atomics.wait(pause, 0, 0, 10);
      writeFileSync(path + ".over", "");
    },
  };`;

test.each([
  ["gRPC", createGrpcTransport],
  ["gRPC-Web over HTTP/2", (options: { baseUrl: string }) => createGrpcWebTransport({ ...options, httpVersion: "2" })],
])("a launch over %s is answered before its runner has the thread", { timeout: 60_000 }, async (_, createTransport) => {
  await using scratch = await makeScratchDirectory();
  const config = join(scratch.path, "stint.yaml");
  await writeFile(join(scratch.path, "package.json"), '{ "type": "module" }');
  await writeFile(join(scratch.path, "runner.ts"), runnerSource);
  await writeFile(config, "controllers:\n  - name: keeps\n    runner:\n      module: runner.ts\n");
  await using server = await ServedProcess.create({ directory: join(scratch.path, "store"), config });
  await server.start();
  const client = createClient(TaskControllerService, createTransport({ baseUrl: server.baseUrl }));
  let answeredFirst = 0;
  for (let i = 0; i < launches; i += 1) {
    const which = { controller: "keeps", taskId: `t${i}` };
    await client.launchTask(which);
    if (!existsSync(join(scratch.path, `t${i}.over`))) answeredFirst += 1;
    await writeFile(join(scratch.path, `t${i}.go`), "");
    expect((await server.client.waitTask(which)).status?.state).toBe(StateCompleted);
  }
  // Of one whose answer was written in pieces the system may have kept some.
  expect(answeredFirst).toBeGreaterThan(launches / 2);
});
