/** What a module's runner does outside of its promise, against the process of `stint serve`. Needs dist/ (npm run build). */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { StateCompleted } from "../../src/task/state.ts";
import { eventually } from "../support/eventually.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { ServedProcess } from "../support/served-process.ts";

// TypeScript in a directory without a package.json: tsx loads it by a data: URL, which is in each stack.
const runnerSource = `
  export const runner = {
    async onTaskRunning(task: any, { attempt, signal }: any) {
      if (task.taskId === "floating") for (let i = 0; i < 3; i += 1) void Promise.reject(new Error("floating\\n".repeat(1_000)));
      if (task.taskId === "thrown" && attempt === 1) setTimeout(() => { throw new Error("thrown") }, 0);
      if (attempt === 1 && task.taskId !== "floating")
        await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    },
  };`;

async function makeServer(directory: string): Promise<ServedProcess> {
  const config = join(directory, "stint.yaml");
  await writeFile(join(directory, "runner.ts"), runnerSource);
  await writeFile(config, "controllers:\n  - name: bad\n    runner:\n      module: runner.ts\n");
  return ServedProcess.create({ directory: join(directory, "store"), config });
}

/** Launches a task of its own id, and waits for its end. */
async function runToEnd({ client }: ServedProcess, taskId: string) {
  await client.launchTask({ controller: "bad", taskId });
  return (await client.waitTask({ controller: "bad", taskId })).status?.state;
}

test("a promise that a runner lets go of and that is rejected is logged, and the server goes on", {
  timeout: 60_000,
}, async () => {
  await using scratch = await makeScratchDirectory();
  await using server = await makeServer(scratch.path);
  await server.start();
  await server.client.launchTask({ controller: "bad", taskId: "steady" });
  expect(await runToEnd(server, "floating")).toBe(StateCompleted);
  await eventually(() => expect(server.complaints).toHaveLength(3), 10_000);
  expect(await runToEnd(server, "floating")).toBe(StateCompleted);
  await eventually(() => expect(server.complaints).toHaveLength(6), 10_000);
  const { status } = await server.client.getTaskStatus({ controller: "bad", taskId: "steady" });
  expect(status).toMatchObject({ attempt: 1 });
  expect(await server.stop()).toBe(0);
  for (const [i, line] of server.complaints.entries()) {
    expect(Buffer.byteLength(line)).toBeLessThan(12_000);
    expect(JSON.parse(line)).toMatchObject({
      level: "error",
      count: i + 1,
      msg: "a promise was rejected and nobody handled it; the server goes on",
    });
    expect(line).not.toContain("data:text");
  }
});

test("a throw that nobody can catch ends the server with a line of its log, and the tasks go on at the next start", {
  timeout: 60_000,
}, async () => {
  await using scratch = await makeScratchDirectory();
  await using server = await makeServer(scratch.path);
  await server.start();
  await server.client.launchTask({ controller: "bad", taskId: "steady" });
  await server.client.launchTask({ controller: "bad", taskId: "thrown" });
  await server.exited;
  // What it wrote may arrive after it is gone.
  await eventually(() => expect(server.complaints).toHaveLength(1), 10_000);
  expect(await server.stop()).toBe(1);
  const line = JSON.parse(server.complaints[0] ?? "") as { err: { stack: string } };
  expect(line).toMatchObject({
    level: "error",
    err: { message: "thrown" },
    msg: "an error was thrown and nobody caught it; the server ends at once",
  });
  // Node 24 has the line and the column after it.
  expect(line.err.stack).toContain(`(${join(scratch.path, "runner.ts")}`);
  await server.start();
  for (const taskId of ["steady", "thrown"]) {
    const { status } = await server.client.waitTask({ controller: "bad", taskId });
    expect(status).toMatchObject({ state: StateCompleted, attempt: 2 });
  }
});
