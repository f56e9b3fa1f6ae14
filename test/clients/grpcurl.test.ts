/** The service as grpcurl finds it, by reflection alone. Needs grpcurl on the PATH, and dist/ (npm run build). */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { repositoryRoot, ServedProcess } from "../support/served-process.ts";
import { grpcurl, type GrpcurlAnswer } from "./grpcurl.ts";

const service = "stint.v1.TaskControllerService";

interface Served extends AsyncDisposable {
  /** HOST:PORT */
  readonly address: string;
  /** Calls a method of the service. */
  call(method: string, request: object): Promise<GrpcurlAnswer>;
  describe(symbol: string): Promise<string>;
}

async function serve(): Promise<Served> {
  const scratch = await makeScratchDirectory();
  const config = join(repositoryRoot, "examples/stint.yaml");
  const server = await ServedProcess.create({ directory: join(scratch.path, "store"), config });
  await server.start();
  const address = server.baseUrl.replace("http://", "");
  return {
    address,
    call: (method, request) => grpcurl("-d", JSON.stringify(request), address, `${service}/${method}`),
    describe: async (symbol) => (await grpcurl(address, "describe", symbol)).stdout,
    async [Symbol.asyncDispose]() {
      await server.kill();
      await scratch[Symbol.asyncDispose]();
    },
  };
}

describe("grpcurl, by reflection alone", { timeout: 120_000 }, () => {
  test("lists the services and their methods", async () => {
    await using server = await serve();
    const services = (await grpcurl(server.address, "list")).stdout.trim().split("\n");
    expect(services).toEqual(expect.arrayContaining([service, "grpc.health.v1.Health"]));
    const methods = (await grpcurl(server.address, "list", service)).stdout.trim().split("\n");
    const names = [
      "CancelTask",
      "GetServerInfo",
      "GetTaskStatus",
      "LaunchTask",
      "ListControllers",
      "ListTasks",
      "WatchTask",
    ];
    expect(methods).toEqual(expect.arrayContaining(names.map((name) => `${service}.${name}`)));
  });

  test("describes a service, a method, messages and an enum, each with its comments", async () => {
    await using server = await serve();
    const described = await server.describe(service);
    expect(described).toMatch(/^stint\.v1\.TaskControllerService is a service:\n\/\/ \w/);
    const lines = described.split("\n");
    const uncommented = lines.filter((line, i) => /^ *rpc /.test(line) && !/^ *\/\//.test(lines[i - 1] ?? ""));
    expect(uncommented).toEqual([]);

    expect(await server.describe(`${service}.LaunchTask`)).toMatch(/^\/\/ Launches a task\.[^]*^rpc LaunchTask /m);
    const request = await server.describe("stint.v1.LaunchTaskRequest");
    expect(request).toMatch(/\/\/ The controller, such as "countdown"\.\n *string controller = 1\b/);
    expect(await server.describe("core.v1.TaskStatus")).toMatch(
      /\/\/ Where the task is in its life.*\n *\.core\.v1\.TaskState state = 1;/,
    );
    expect(await server.describe("core.v1.TaskState")).toMatch(/enum TaskState[^]*Completed = 3;/);
  });

  test("launches a task, watches it to its end, and reads it back", async () => {
    await using server = await serve();
    const task = { controller: "countdown", task_id: "counted" };
    const launched = await server.call("LaunchTask", {
      ...task,
      metadata: { limit: 4, intervalMs: 50 },
      labels: { made: "here" },
    });
    expect(launched.messages).toMatchObject([
      { taskId: "counted", outcome: "LAUNCH_OUTCOME_LAUNCHED", status: { state: "Pending" } },
    ]);

    const watched = await server.call("WatchTask", { ...task, include_logs: true });
    expect(watched.exitCode).toBe(0);
    const { messages } = watched;
    expect(messages.flatMap(({ logs = [] }) => logs.map(({ msg }: { msg: string }) => msg))).toEqual(
      [1, 2, 3, 4].map((step) => `step ${step} of 4`),
    );
    const revisions = messages.map(({ revision }) => Number(revision));
    expect(revisions).toEqual([...new Set(revisions)].toSorted((a, b) => a - b));
    const end = { state: "Completed", progress: { current: "4", total: "4" }, result: '{"counted":4}', attempt: 1 };
    expect(messages.at(-1)).toMatchObject({ status: end });

    const read = await server.call("GetTaskStatus", task);
    expect(read.messages).toMatchObject([
      { revision: String(revisions.at(-1)), status: { ...end, logCount: "4", labels: { made: "here" } } },
    ]);
    const listed = await server.call("ListTasks", { controller: "countdown", labels: { made: "here" } });
    expect(listed.messages).toMatchObject([{ tasks: [{ taskId: "counted", status: { state: "Completed" } }] }]);
  });

  test("cancels a task, and waits for its end", async () => {
    await using server = await serve();
    const task = { controller: "countdown", task_id: "endless" };
    await server.call("LaunchTask", { ...task, json_metadata: '{"limit": 1000000}' });
    const canceled = await server.call("CancelTask", { ...task, reason: "not needed", wait: "20s" });
    const status = { state: "Canceled", cancel: { reason: "not needed" } };
    expect(canceled.messages).toMatchObject([{ stage: "CANCEL_STAGE_ENDED", status }]);
    expect((await server.call("WatchTask", task)).messages).toMatchObject([{ status }]);
  });

  test("checks the server's health", async () => {
    await using server = await serve();
    const all = await grpcurl(server.address, "grpc.health.v1.Health/Check");
    expect(all.messages).toEqual([{ status: "SERVING" }]);
    const one = await grpcurl("-d", JSON.stringify({ service }), server.address, "grpc.health.v1.Health/Check");
    expect(one.messages).toEqual([{ status: "SERVING" }]);
  });

  test("sees what the server is, and its controllers", async () => {
    await using server = await serve();
    const [info] = (await server.call("GetServerInfo", {})).messages;
    expect(info).toMatchObject({
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      store: { kind: "level", durability: "sync" },
    });
    const { controllers } = (await server.call("ListControllers", {})).messages[0];
    const countdown = { name: "countdown", runnerKind: "RUNNER_KIND_MODULE", runnersConnected: 1 };
    expect(controllers).toContainEqual(expect.objectContaining(countdown));
  });

  const mistakes: ReadonlyArray<[code: string, method: string, request: object, says: RegExp[]]> = [
    ["NotFound", "GetTaskStatus", { controller: "countdown", task_id: "none" }, [/ResourceInfo/]],
    ["NotFound", "LaunchTask", { controller: "none" }, [/there are: .*checksum, countdown/]],
    [
      "InvalidArgument",
      "LaunchTask",
      { controller: "countdown", task_id: "/", json_metadata: "[]" },
      [/BadRequest/, /"task_id"/, /"json_metadata"/],
    ],
    ["OutOfRange", "GetTaskStatus", { controller: "countdown", task_id: "none", revision: 1_000_000 }, [/BadRequest/]],
  ];

  test.each(mistakes)("is told %s by %s(%o), with details that it can read", async (code, method, request, says) => {
    await using server = await serve();
    const { exitCode, stderr } = await server.call(method, request);
    expect(exitCode).not.toBe(0);
    expect(stderr).toContain(`Code: ${code}\n`);
    expect(stderr).not.toContain("not recognized");
    for (const text of says) expect(stderr).toMatch(text);
  });

  test("is told of a method that is not there", async () => {
    await using server = await serve();
    const { stderr } = await server.call("NoSuchMethod", {});
    expect(stderr).toContain('service "stint.v1.TaskControllerService" does not include a method named "NoSuchMethod"');
  });
});
