/**
 * Every code that the service answers with, and its details, as two clients read them that know nothing of each other:
 * grpc-js (grpc-status-details-bin) and one that posts JSON (the array "details").
 */
import { type DescMethod, fromJson, type JsonObject, toBinary } from "@bufbuild/protobuf";
import { status as grpcCodes } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import { TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import type { Limits } from "../../src/server/limits.ts";
import { taskKey } from "../../src/store/keys.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import { controllerName as controller, Harness } from "../support/controller-harness.ts";
import { FaultPlan, FaultStore } from "../support/fault-store.ts";
import { readConnect, readGrpc } from "../support/read-details.ts";
import { type ServedFake, serveFake } from "../support/served-fake.ts";

/** A server with a controller of the library: "live" is Running, "ended" Completed, and the record of "bad" is damaged. */
interface World extends AsyncDisposable {
  readonly served: ServedFake;
  readonly harness: Harness;
  readonly faults: FaultPlan;
}

interface Row {
  readonly code: keyof typeof grpcCodes;
  /** What of it there is. */
  readonly name: string;
  readonly method: string;
  readonly request?: JsonObject;
  /** As read-details.ts writes them. */
  readonly details: readonly string[];
  readonly limits?: Partial<Limits>;
  readonly arrange?: (world: World) => unknown;
}

const live = { controller, taskId: "live" };
const retry = "RetryInfo";
const ahead = "18446744073709551615";

const rows: readonly Row[] = [
  {
    code: "INVALID_ARGUMENT",
    name: "a launch with two bad fields",
    method: "LaunchTask",
    request: { controller, taskId: "/", labels: { env: "x".repeat(257) } },
    details: ["BadRequest labels[env] task_id"],
  },
  {
    code: "INVALID_ARGUMENT",
    name: "a watch",
    method: "WatchTasks",
    request: { idPrefix: "/" },
    details: ["BadRequest id_prefix"],
  },
  {
    code: "NOT_FOUND",
    name: "a task",
    method: "GetTaskStatus",
    request: { controller, taskId: "no" },
    details: [`ResourceInfo task ${controller}/no`],
  },
  {
    code: "NOT_FOUND",
    name: "a task that is watched",
    method: "WatchTask",
    request: { controller, taskId: "no" },
    details: [`ResourceInfo task ${controller}/no`],
  },
  {
    code: "NOT_FOUND",
    name: "a controller",
    method: "ListTasks",
    request: { controller: "no" },
    details: ["ResourceInfo controller no"],
  },
  {
    code: "ALREADY_EXISTS",
    name: "a task that is alive",
    method: "LaunchTask",
    request: { ...live, ifActive: "IF_ACTIVE_FAIL" },
    details: [],
  },
  {
    code: "ALREADY_EXISTS",
    name: "a request id of another payload",
    method: "LaunchTask",
    request: { ...live, requestId: "used", jsonMetadata: "{}" },
    details: ["ErrorInfo REQUEST_ID_REUSED"],
    arrange: ({ harness }) => harness.launch("other", { requestId: "used" }),
  },
  {
    code: "FAILED_PRECONDITION",
    name: "a task that has not ended",
    method: "DeleteTask",
    request: live,
    details: [],
  },
  {
    code: "FAILED_PRECONDITION",
    name: "another run",
    method: "CancelTask",
    request: { ...live, runId: "no" },
    details: ["ErrorInfo CONFLICT run_id"],
  },
  {
    code: "FAILED_PRECONDITION",
    name: "another run that is watched",
    method: "WatchTask",
    request: { ...live, runId: "no" },
    details: ["ErrorInfo CONFLICT run_id"],
  },
  {
    code: "ABORTED",
    name: "a lost if_revision",
    method: "DeleteTask",
    request: { ...live, ifRevision: "1000" },
    details: ["ErrorInfo CONFLICT revision"],
  },
  {
    code: "OUT_OF_RANGE",
    name: "a revision that lies ahead",
    method: "GetTaskStatus",
    request: { ...live, revision: ahead },
    details: ["BadRequest revision"],
  },
  {
    code: "OUT_OF_RANGE",
    name: "a revision to go on from that lies ahead",
    method: "WatchTask",
    request: { ...live, sinceRevision: ahead },
    details: ["BadRequest since_revision"],
  },
  ...["GetTaskStatus", "WatchTask", "WatchTasks"].map((method): Row => {
    const { taskId, ...all } = live;
    const since = { ...(method === "WatchTasks" ? all : live), sinceRevision: "1" };
    return {
      code: "OUT_OF_RANGE",
      name: "history that is gone",
      method,
      request: method === "GetTaskStatus" ? { ...live, revision: "1" } : since,
      details: ["ErrorInfo COMPACTED first_revision"],
      arrange: async ({ harness }) => {
        while (harness.disk.firstRevision() <= 1n) await harness.launch("live");
      },
    };
  }),
  {
    code: "RESOURCE_EXHAUSTED",
    name: "a request that is too large",
    method: "CancelTask",
    request: { ...live, reason: "r".repeat(2_000) },
    details: ["ErrorInfo LIMIT limit value"],
    limits: { requestMaxBytes: 1_000 },
  },
  {
    code: "RESOURCE_EXHAUSTED",
    name: "a request of a stream that is too large",
    method: "WatchTask",
    request: { ...live, runId: "r".repeat(2_000) },
    details: ["ErrorInfo LIMIT limit value"],
    limits: { requestMaxBytes: 1_000 },
  },
  {
    code: "RESOURCE_EXHAUSTED",
    name: "too many streams",
    method: "WatchTask",
    request: live,
    details: ["ErrorInfo LIMIT limit value", retry],
    limits: { watchersMax: 1 },
    arrange: ({ served }) => served.client().watchTask(live)[Symbol.asyncIterator]().next(),
  },
  {
    code: "RESOURCE_EXHAUSTED",
    name: "too many tasks that wait",
    method: "LaunchTask",
    request: { controller, taskId: "third" },
    details: ["ErrorInfo LIMIT limit value", retry],
    arrange: async ({ harness }) => {
      for (const id of ["first", "second"]) await harness.launch(id);
    },
  },
  ...["GetTaskStatus", "LaunchTask", "WatchTask"].map(
    (method): Row => ({
      code: "UNAVAILABLE",
      name: "a store that fails",
      method,
      request: { controller, taskId: "ended" },
      details: ["ErrorInfo STORE_UNAVAILABLE", retry],
      arrange: ({ faults }) => faults.add({ at: faults.operations + 1, kind: "refused", lasting: true }),
    }),
  ),
  {
    code: "UNAVAILABLE",
    name: "a store that is known to fail",
    method: "ListTasks",
    request: { controller },
    details: ["ErrorInfo STORE_UNAVAILABLE", retry],
    arrange: ({ served }) => served.availability.setStoreHealthy(false),
  },
  ...["GetTaskStatus", "WatchTask"].map(
    (method): Row => ({
      code: "UNAVAILABLE",
      name: "a server that drains",
      method,
      request: live,
      details: ["ErrorInfo DRAINING", retry],
      arrange: ({ served }) => served.availability.enter("draining"),
    }),
  ),
  ...["GetTaskStatus", "LaunchTask", "CancelTask", "WatchTask", "WaitTask", "ListTaskLogs"].map(
    (method): Row => ({
      code: "DATA_LOSS",
      name: "a record that is damaged",
      method,
      request: { controller, taskId: "bad" },
      details: ["ErrorInfo CORRUPT", `ResourceInfo task ${controller}/bad`],
    }),
  ),
  {
    code: "DEADLINE_EXCEEDED",
    name: "a call that takes longer than it may",
    method: "GetTaskStatus",
    request: { controller: "countdown", taskId: "a" },
    details: [],
    limits: { unaryDeadlineMs: 50 },
    arrange: ({ served }) => {
      served.controller.gate = new Promise(() => {});
    },
  },
  { code: "UNIMPLEMENTED", name: "a method that there is not", method: "PauseTask", details: [] },
];

async function openWorld(limits: Partial<Limits> = {}): Promise<World> {
  const harness = new Harness(await openMemoryStore({ historyBytes: 20_000 }), {});
  const faults = new FaultPlan();
  await harness.open({
    concurrency: 1,
    limits: { waitingMax: 2 },
    wrap: (store) => new FaultStore(store, faults),
  });
  for (const taskId of ["ended", "bad"]) {
    await harness.launch(taskId);
    (await harness.runner.phase(taskId)).return();
    await harness.settle();
  }
  const key = taskKey(controller, "bad");
  await harness.disk.commit([{ type: "put", key, value: new Uint8Array([0xff, 0xff, 0xff]) }]);
  await harness.launch("live");
  await harness.runner.phase("live");
  const served = await serveFake({ limits, controllers: [harness.controller] });
  return {
    served,
    harness,
    faults,
    async [Symbol.asyncDispose]() {
      await served[Symbol.asyncDispose]();
      harness.handle.cut();
      harness.runner.abandon();
    },
  };
}

describe("an error has the details that its code promises, for grpc-js and in JSON", () => {
  test.each(rows.map((row) => [row.code, row.name, row.method, row] as const))(
    "%s: %s, %s",
    async (_, __, ___, row) => {
      await using world = await openWorld(row.limits);
      await row.arrange?.(world);
      const method: DescMethod | undefined = TaskControllerService.methods.find(({ name }) => name === row.method);
      const path = `/${TaskControllerService.typeName}/${row.method}`;
      const request = row.request ?? {};
      const bytes = method && toBinary(method.input, fromJson(method.input, request));
      const grpc = await readGrpc(world.served, path, bytes ?? new Uint8Array());
      const json = await readConnect(world.served, path, request, method?.methodKind === "server_streaming");
      for (const error of [grpc, json]) expect(error).toMatchObject({ code: row.code, details: row.details });
      expect(grpc.message).not.toBe("");
    },
  );

  test("and every code has a row", () => {
    const never = ["OK", "CANCELLED", "UNKNOWN", "INTERNAL", "PERMISSION_DENIED", "UNAUTHENTICATED"];
    const codes = Object.keys(grpcCodes).filter((name) => Number.isNaN(Number(name)) && !never.includes(name));
    expect([...new Set(rows.map(({ code }) => code as string))].sort()).toEqual(codes.sort());
  });
});
