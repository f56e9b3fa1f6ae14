/** A table of requests that are refused, each over gRPC and over Connect with JSON, and a store that does not change. */
import { createHash } from "node:crypto";
import { cp } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createRegistry, type JsonValue } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { errorFromJson } from "@connectrpc/connect/protocol-connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { openStore } from "../../src/store/open.ts";
import { StateRunning } from "../../src/task/state.ts";
import { startServer } from "../../src/server/start-server.ts";
import { type CallError, callError, errorDetails, readError, readStatus } from "../support/call-error.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { callRows } from "./support/bad-calls.ts";
import { fieldRows } from "./support/bad-fields.ts";
import { type BadRequest, controller } from "./support/bad-request.ts";

const rows = [...fieldRows, ...callRows];

type Calls = Record<string, (request: object) => Promise<unknown> | AsyncIterable<unknown>>;

async function start() {
  const directory = await makeScratchDirectory();
  const runner = { module: resolve("examples/runners/countdown.ts") };
  const dataDir = join(directory.path, "data");
  const server = await startServer({ listen: "127.0.0.1:0", dataDir, controllers: [{ name: controller, runner }] });
  const baseUrl = `http://${server.address}`;
  const client = (transport: Transport) => createClient(TaskControllerService, transport);
  const grpc = client(createGrpcTransport({ baseUrl }));
  const jsonOptions = { registry: createRegistry(...errorDetails) };
  const json = client(createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: false, jsonOptions }));
  return { server, directory, dataDir, baseUrl, grpc, json };
}

let started: Awaited<ReturnType<typeof start>>;
let before: Awaited<ReturnType<typeof readStore>>;

/**
 * All entries of the store as they are on disk, hashed, and its revision. They are read from a copy: files alone may change,
 * when what was committed moves from the journal into tables.
 */
async function readStore(): Promise<{ hash: string; entries: number; revision: bigint }> {
  await using copy = await makeScratchDirectory();
  const path = join(copy.path, "data");
  await cp(started.dataDir, path, { recursive: true });
  await using store = await openStore(`level:${path}`);
  const entries = await store.scan({ prefix: "", limit: 1_000 });
  const hash = createHash("sha256");
  for (const { key, value, revision, previous } of entries) {
    hash.update(JSON.stringify([key, Buffer.from(value).toString("hex"), String(revision), String(previous)]));
  }
  return { hash: hash.digest("hex"), entries: entries.length, revision: store.revision() };
}

beforeAll(async () => {
  started = await start();
  const { grpc } = started;
  const launch = (taskId: string, metadata: string, requestId = "") =>
    grpc.launchTask({ controller, taskId, requestId, payload: { case: "jsonMetadata", value: metadata } });
  await launch("ended", '{"limit":1,"intervalMs":1}', "used");
  while (!(await grpc.waitTask({ controller, taskId: "ended" })).done);
  // It changes nothing for a day.
  await launch("live", '{"intervalMs":86400000}');
  for await (const { status } of grpc.watchTask({ controller, taskId: "live" })) {
    if (status?.state === StateRunning) break;
  }
  before = await readStore();
}, 60_000);

afterAll(async () => {
  await started.server.close({ graceMs: 0 });
  await started.directory[Symbol.asyncDispose]();
});

/** What a client reads that sends a text of its own. */
async function postError(call: string, body: string | Buffer): Promise<CallError> {
  const name = call.charAt(0).toUpperCase() + call.slice(1);
  const response = await fetch(`${started.baseUrl}/${TaskControllerService.typeName}/${name}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
  });
  const answer = (await response.json()) as JsonValue;
  return readError(errorFromJson(answer, undefined, new ConnectError("no error", Code.Unknown)));
}

function expectRefusal(row: BadRequest, error: CallError): void {
  const { code, fields = [], reason } = row;
  expect(error).toMatchObject({ code, fields });
  if (reason !== undefined) expect(error).toMatchObject({ reason, domain: "stint.v1" });
  expect(error.descriptions.every((text) => text !== "" && text.length < 400)).toBe(true);
  if (code === "NotFound") expect(error.resource).toMatch(/^(controller|task) /);
}

describe("a bad request is refused for what it is, over gRPC and Connect", () => {
  test.each(rows.map((row) => [row.call, row.name, row] as const))("%s: %s", async (call, _, row) => {
    const [grpc, json] = [started.grpc, started.json] as unknown as [Calls, Calls];
    expectRefusal(row, await callError(grpc[call]?.(row.request) ?? Promise.resolve()));
    if (row.json !== undefined) expectRefusal(row, await postError(call, row.json));
    else expectRefusal(row, await callError(json[call]?.(row.request) ?? Promise.resolve()));
  });
});

test.each(["grpc", "json"] as const)(
  "a batch of all launches over %s has for each what a launch gets",
  async (name) => {
    // What a client cannot write, and what is more than a batch has room for together, is left out.
    const launches = rows.filter(({ call, json }) => call === "launchTask" && json === undefined);
    const requests = launches.map(({ request }) => request);
    const { results } = await started[name].batchLaunchTasks({ requests: [...requests, ...requests] });
    expect(results.length).toBe(2 * launches.length);
    for (const [index, { result }] of results.entries()) {
      expect(result.case).toBe("error");
      if (result.case === "error")
        expectRefusal(launches[index % launches.length] as BadRequest, readStatus(result.value));
    }
  },
);

test("there are at least 150 of them, for every call that takes something", () => {
  expect(rows.length).toBeGreaterThanOrEqual(150);
  const bare = ["listControllers", "getServerInfo"];
  const calls = TaskControllerService.methods.map((method) => method.localName).filter((name) => !bare.includes(name));
  expect([...new Set(rows.map((row) => row.call))].sort()).toEqual(calls.sort());
});

test.each(["metadata", "labels"])("bytes in the %s of a JSON request that are no UTF-8 are refused", async (field) => {
  const value = field === "labels" ? '{"a":"p\xffq"}' : '{"k":"p\xffq"}';
  const body = Buffer.from(`{"controller":"${controller}","taskId":"no-utf8","${field}":${value}}`, "latin1");
  const error = await postError("launchTask", body);
  expect(error).toMatchObject({ code: "InvalidArgument", message: expect.stringContaining("utf-8") as unknown });
});

test("after all of them the store is what it was, byte for byte", async () => {
  expect(before.entries).toBeGreaterThan(2);
  const { store } = await started.grpc.getServerInfo({});
  expect(await readStore()).toEqual(before);
  expect(store?.revision).toBe(before.revision);
}, 60_000);
