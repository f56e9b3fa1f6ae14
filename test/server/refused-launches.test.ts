import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { LaunchTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { openController } from "../../src/controller/open-controller.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import { callError } from "../support/call-error.ts";
import { eventually } from "../support/eventually.ts";
import { envelope, grpcHeaders, http2Request } from "../support/raw-http.ts";
import { protocolNames, serveFake } from "../support/served-fake.ts";

const launchPath = "/stint.v1.TaskControllerService/LaunchTask";

/** A server in which one launch is worked on until `go` is called. It takes 32 more, and refuses all after that. */
async function serveOne() {
  const served = await serveFake({ limits: { launchesAtOnceMax: 1 } });
  const { controller } = served;
  const held = { go: (): void => {} };
  controller.gate = new Promise((resolve) => (held.go = resolve));
  const client = served.client();
  const launch = () => client.launchTask({ controller: "countdown" });
  const first = launch();
  await eventually(() => expect(controller.callCount).toBe(1));
  return { served, controller, client, launch, first, go: () => held.go() };
}

/** Fills the line, until one is refused. */
async function fill(launch: () => Promise<unknown>): Promise<Promise<unknown>[]> {
  const calls = Array.from({ length: 40 }, launch);
  const refused = await Promise.any(calls.map((each) => callError(each)));
  expect(refused).toMatchObject({ code: "ResourceExhausted", reason: "LIMIT", retries: true });
  return calls;
}

test("launches wait for each other, in calls and in batches; more than may wait are refused when they come, in every protocol, and other calls go by", async () => {
  const { served, controller, client, launch, first, go } = await serveOne();
  await using _served = served;
  const requests = ["d", "e"].map((taskId) => ({ controller: "countdown", taskId }));
  const batch = client.batchLaunchTasks({ requests });
  const waiting = (await fill(launch)).map((each) =>
    each.then(
      () => undefined,
      (error: unknown) => ConnectError.from(error).code,
    ),
  );
  for (const name of protocolNames) {
    const late = served.client(name).batchLaunchTasks({ requests });
    expect(await callError(late), name).toMatchObject({ code: "ResourceExhausted", reason: "LIMIT", retries: true });
  }
  expect(controller.callCount).toBe(1);
  const canceled = callError(client.cancelTask({ controller: "countdown", taskId: "none" }));
  await eventually(() => expect(controller.callCount).toBe(2));
  go();
  await first;
  expect(await canceled).toMatchObject({ code: "NotFound" });
  const outcomes = await Promise.all(waiting);
  const refused = outcomes.filter((code) => code === Code.ResourceExhausted).length + protocolNames.length;
  expect(served.faults.counts().calls_refused).toBe(refused);
  const lines = served.logged.map(({ fields }) => fields).filter((each) => "fault" in each);
  expect(lines[0]).toMatchObject({ fault: "calls_refused", limit: "launches_at_once_max", rpc: "LaunchTask" });
  expect((await batch).results.map(({ result }) => result.case)).toEqual(["launched", "launched"]);
  expect(new Set(outcomes)).toEqual(new Set([undefined, Code.ResourceExhausted]));
});

test("however much was sent with launches that are refused, their connection goes on", async () => {
  const { served, launch, first, go } = await serveOne();
  await using _served = served;
  const waiting = await fill(launch);
  // A client's window for a connection is 10 MB in Node.
  const jsonMetadata = JSON.stringify({ text: "x".repeat(250_000) });
  const big = { controller: "countdown", payload: { case: "jsonMetadata" as const, value: jsonMetadata } };
  const requests = Array.from({ length: 12 }, () => big);
  for (const name of ["grpc", "grpc-web", "connect", "connect-h1"] as const) {
    const client = served.client(name);
    for (let i = 0; i < 5; i += 1) {
      expect(await callError(client.batchLaunchTasks({ requests })), `${name} ${i}`).toMatchObject({
        code: "ResourceExhausted",
        reason: "LIMIT",
        retries: true,
      });
    }
    expect((await client.getServerInfo({})).version, name).toBe("0.0.0-test");
  }
  go();
  await first;
  await Promise.allSettled(waiting);
});

test("who waits for its turn is answered at its deadline, which counts from when it came, and where the store fails", async () => {
  const { served, controller, launch, first, go } = await serveOne();
  await using _served = served;
  const request = toBinary(LaunchTaskRequestSchema, create(LaunchTaskRequestSchema, { controller: "countdown" }));
  // Clients have deadlines of their own: it is the server's answer that is looked at.
  const [overGrpc, overConnect] = await Promise.all([
    http2Request(served.port, { ...grpcHeaders, ":path": launchPath, "grpc-timeout": "50m" }, envelope(request)),
    fetch(served.baseUrl + launchPath, {
      method: "POST",
      headers: { "content-type": "application/json", "connect-timeout-ms": "50" },
      body: '{"controller":"countdown"}',
    }),
  ]);
  expect(overGrpc.grpcStatus).toBe(Code.DeadlineExceeded);
  expect(await overConnect.json()).toMatchObject({ code: "deadline_exceeded" });
  const waiting = callError(launch());
  await new Promise((resolve) => setImmediate(resolve));
  served.availability.setStoreHealthy(false);
  const unavailable = { code: "Unavailable", retries: true };
  expect(await waiting).toMatchObject(unavailable);
  expect(await callError(launch())).toMatchObject(unavailable);
  expect(controller.callCount).toBe(1);
  go();
  await first;
});

/** A server of three launches at one time, and a controller "slow" of which the task "told" has ended, and its runner is being told. */
async function serveSlow() {
  const held = { go: (): void => {} };
  const told = new Promise<void>((resolve) => (held.go = resolve));
  const runner = { onTaskRunning: () => {}, onTaskCompleted: () => told };
  const store = await openMemoryStore();
  const slow = await openController({ name: "slow", store, runner, retention: { afterEndMs: 1e9 } });
  const served = await serveFake({ limits: { launchesAtOnceMax: 3 }, controllers: [slow] });
  const client = served.client();
  await client.launchTask({ controller: "slow", taskId: "told" });
  await client.waitTask({ controller: "slow", taskId: "told" });
  return {
    client,
    go: () => held.go(),
    async [Symbol.asyncDispose]() {
      held.go();
      await served.close(0);
      await slow.close();
      await store.close();
    },
  };
}

test("launches that wait until a runner was told of an end hold up nobody: neither alone nor in a batch, and no batch waits for them", async () => {
  await using served = await serveSlow();
  const { client, go } = served;
  const again = { controller: "slow", taskId: "told" };
  const other = { controller: "countdown" };
  const alone = Array.from({ length: 5 }, () => client.launchTask(again));
  const batch = client.batchLaunchTasks({ requests: [other, again, other, again, { controller: "none" }] });
  let areOver = false;
  const waiting = Promise.all([batch, ...alone]).finally(() => (areOver = true));
  for (let i = 0; i < 5; i += 1) await client.launchTask(other);
  const { results } = await client.batchLaunchTasks({ requests: [other, other, other, other] });
  expect(results.map(({ result }) => result.case)).toEqual(Array(4).fill("launched"));
  expect(areOver).toBe(false);
  go();
  const [{ results: late }] = await waiting;
  expect(late.map(({ result }) => result.case)).toEqual([...Array<string>(4).fill("launched"), "error"]);
});
