/**
 * The clients of examples/clients, each against a real server that is killed with SIGKILL and started again in the
 * middle. CLIENTS: which (default: those that need nothing but Node), such as "go python"; what a client is made of is
 * installed before, by running it without arguments. Needs dist/ (npm run build).
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { ControllerError } from "../../src/controller/error.ts";
import { StateCompleted } from "../../src/task/state.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { serveFake } from "../support/served-fake.ts";
import { repositoryRoot, ServedProcess } from "../support/served-process.ts";

const programs: Readonly<Record<string, string>> = {
  "grpc-js": "node/grpc-js",
  connect: "node/connect",
  go: "go/run",
  python: "python/run",
  java: "java/run",
  grpcurl: "shell/grpcurl",
  "buf-curl": "shell/buf-curl",
  curl: "shell/curl",
};
const names = (process.env["CLIENTS"] ?? "grpc-js connect").split(" ").filter((name) => name !== "");

test.each(names)(
  "%s launches a task, watches it to its end over a restart of the server, and reads it back",
  async (name) => {
    const program = programs[name];
    if (program === undefined) throw new Error(`CLIENTS: there is no client "${name}"`);
    await using scratch = await makeScratchDirectory();
    const config = join(repositoryRoot, "examples/stint.yaml");
    await using server = await ServedProcess.create({ directory: join(scratch.path, "store"), config });
    await server.start();
    const task = { controller: "countdown", taskId: `${name}-task` };
    const client = run(join(repositoryRoot, "examples/clients", program), [
      server.baseUrl.replace("http://", ""),
      task.taskId,
    ]);
    // About a third of it is done.
    for (let done = 0n; done < 13n && !client.isOver; await sleep(20)) {
      const answer = await server.client.getTaskStatus(task).catch(() => undefined);
      done = answer?.status?.progress?.current ?? 0n;
    }
    await server.kill();
    await server.start();
    const { code, output } = await client.over;
    expect(output).toMatch(/Completed[^\n]*\{"counted":40\}|counted\\?":\s*40/);
    expect(code).toBe(0);
    const { status } = await server.client.getTaskStatus(task);
    expect(status?.state).toBe(StateCompleted);
    // The restart did happen while the task was running, and it was launched once.
    expect(status?.attempt).toBe(2);
    expect(status?.logs.map(({ msg }) => msg)).toEqual(Array.from({ length: 40 }, (_, i) => `step ${i + 1} of 40`));
  },
  90_000,
);

const ofNode = names.filter((name) => programs[name]?.startsWith("node/"));

test.skipIf(ofNode.length === 0).each(ofNode)(
  "%s gives up where the server is there and refuses",
  async (name) => {
    await using served = await serveFake();
    const client = () =>
      run(join(repositoryRoot, "examples/clients", programs[name] as string), [`127.0.0.1:${served.port}`, "a"]);
    served.controller.failure = new Error("a mistake");
    const broken = await client().over;
    expect([broken.code, broken.output]).toEqual([1, expect.stringContaining("internal")]);
    served.controller.failure = new ControllerError("ABORTED", "lost", { reason: "CONFLICT" });
    const refused = await client().over;
    expect([refused.code, refused.output]).toEqual([1, expect.stringContaining("lost")]);
  },
  30_000,
);

interface Running {
  readonly isOver: boolean;
  readonly over: Promise<{ code: number | null; output: string }>;
}

function run(program: string, args: readonly string[]): Running {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let isOver = false;
  const keep = (data: Buffer): void => {
    output = (output + data.toString()).slice(-20_000);
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  const over = new Promise<{ code: number | null; output: string }>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      isOver = true;
      resolve({ code, output });
    });
  });
  over.catch(() => {});
  return {
    get isOver() {
      return isOver;
    },
    over,
  };
}
