import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { LogEntrySchema, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { createKVStore } from "../../src/store/task-store.ts";
import { StateCompleted, StateFailed, StatePending, StateRunning, StateUnknown } from "../../src/task/state.ts";
import { controllerName, createHarness } from "../support/controller-harness.ts";
import { damageEntries } from "../support/damaged-store.ts";
import { expectError } from "./key-value-fixture.ts";

const keyOf = (taskId: string): string => `/tasks/${controllerName}/${taskId}`;
const large = JSON.stringify({ text: "x".repeat(5_000) });

test("a status that a controller wrote reads back with its metadata, result and log folded in", async () => {
  const harness = await createHarness();
  await harness.open();
  await harness.launch("a", { jsonMetadata: large, labels: { env: "test" } });
  await harness.settle();
  const phase = harness.runner.phases.find((each) => each.name === "running");
  const saying = Promise.all([phase?.task.addLogEntry("info", "one"), phase?.task.addLogEntry("warn", "two")]);
  await harness.settle();
  await saying;
  phase?.return({ text: "y".repeat(5_000) });
  await harness.settle();

  const found = await createKVStore(harness.disk).get(keyOf("a"));
  expect(found?.value.state).toBe(StateCompleted);
  expect(found?.value.metadata).toBe(large);
  expect(found?.value.result).toBe(JSON.stringify({ text: "y".repeat(5_000) }));
  expect(found?.value.logs.map((entry) => [entry.msg, entry.level])).toEqual([
    ["one", 0],
    ["two", 4],
  ]);
  expect(await createKVStore(harness.disk).listKeys("")).toEqual([keyOf("a")]);
  await harness.close();
});

test("a status is read as it was at a revision, with the metadata it had then", async () => {
  const kv = createKVStore((await createHarness()).disk);
  const first = await kv.put(keyOf("a"), create(TaskStatusSchema, { state: StatePending, metadata: large }));
  const second = await kv.put(keyOf("a"), create(TaskStatusSchema, { state: StatePending, metadata: "{}" }), {
    revision: first,
  });
  expect((await kv.get(keyOf("a"), { revision: first }))?.value.metadata).toBe(large);
  expect((await kv.get(keyOf("a")))?.value.metadata).toBe("{}");
  expect((await kv.history(keyOf("a"))).map((entry) => entry.revision)).toEqual([first, second]);
});

test("a status with a log is put again and again, with another log or none, and leaves one entry for the old records", async () => {
  const harness = await createHarness();
  await harness.open();
  await harness.launch("a");
  await harness.settle();
  const phase = harness.runner.phases.find((each) => each.name === "running");
  const saying = Promise.all([phase?.task.addLogEntry("info", "one"), phase?.task.addLogEntry("info", "two")]);
  await harness.settle();
  await saying;
  phase?.return();
  await harness.settle();
  await harness.close();

  const kv = createKVStore(harness.disk);
  const messagesOf = async (): Promise<string[]> => (await kv.get(keyOf("a")))?.value.logs.map(({ msg }) => msg) ?? [];
  const read = (await kv.get(keyOf("a")))?.value;
  for (let i = 0; i < 3; i += 1) await kv.put(keyOf("a"), create(TaskStatusSchema, read));
  expect(await kv.get(keyOf("a"))).toMatchObject({ value: read });
  expect(await harness.keys("/trash/")).toHaveLength(1);
  await kv.put(keyOf("a"), { ...create(TaskStatusSchema, read), logs: [create(LogEntrySchema, { msg: "three" })] });
  expect(await messagesOf()).toEqual(["three"]);
  for (let i = 0; i < 2; i += 1) await kv.put(keyOf("a"), { ...create(TaskStatusSchema, read), logs: [] });
  expect(await messagesOf()).toEqual([]);
  await kv.delete(keyOf("a"));
  await harness.open();
  await harness.settle();
  await harness.close();
  expect((await harness.keys("/")).filter((key) => !key.startsWith("/counts/"))).toEqual([]);
});

test("what is put, replaced and deleted keeps the indexes and counters true", async () => {
  const { disk } = await createHarness();
  const kv = createKVStore(disk);
  for (const [taskId, state] of [
    ["a", StatePending],
    ["b", StateRunning],
    ["c", StateFailed],
  ] as const) {
    const transitions = [{ state }];
    const status = create(TaskStatusSchema, {
      state,
      transitions,
      metadata: large,
      labels: { n: taskId },
      runId: "r",
      attempt: 1,
    });
    await kv.put(keyOf(taskId), status);
    await kv.put(keyOf(taskId), { ...status, metadata: "{}", labels: {} });
  }
  await kv.delete(keyOf("c"));
  expect(await kv.listKeys(`/tasks/${controllerName}/`)).toEqual([keyOf("a"), keyOf("b")]);
  const left = (await disk.scan({ prefix: "/", limit: 100 })).map((entry) => entry.key);
  expect(left).toEqual([
    `/counts/${controllerName}/${StatePending}`,
    `/counts/${controllerName}/${StateRunning}`,
    `/counts/${controllerName}/${StateFailed}`,
    `/index/newest/${controllerName}/999999999999999/a`,
    `/index/newest/${controllerName}/999999999999999/b`,
    `/index/state/${controllerName}/${StatePending}/a`,
    `/index/state/${controllerName}/${StateRunning}/b`,
    keyOf("a"),
    keyOf("b"),
    `/waiting/${controllerName}/00000000000000000001/a`,
  ]);
  const counters = await disk.scan({ prefix: "/counts/", limit: 10 });
  expect(counters.map(({ value }) => value.at(-1))).toEqual([1, 1, 0]);
});

test("a controller takes up what was put: Pending and Running resume, with progress and log kept, Unknown is left", async () => {
  const harness = await createHarness();
  const kv = createKVStore(harness.disk);
  const logs = [create(LogEntrySchema, { msg: "from before" })];
  await kv.put(
    keyOf("running"),
    create(TaskStatusSchema, { state: StateRunning, progress: { current: 3n, total: 9n }, logs }),
  );
  await kv.put(keyOf("pending"), create(TaskStatusSchema, { state: StatePending }));
  await kv.put(keyOf("unknown"), create(TaskStatusSchema, { state: StateUnknown }));
  await harness.open();
  await harness.settle();
  const offered = harness.runner.phases.map((phase) => phase.taskId);
  expect([...new Set(offered)].sort()).toEqual(["pending", "running"]);
  const phase = harness.runner.phases.find((each) => each.taskId === "running" && each.name === "running");
  expect((await phase?.task.getProgress())?.current).toBe(3n);
  const status = await harness.controller.taskStatus("running");
  expect([status.state, status.attempt, status.runId === ""]).toEqual([StateRunning, 2, false]);
  expect(status.logs.map((entry) => [entry.msg, entry.seq])).toEqual([["from before", 1n]]);
  expect(await harness.state("unknown")).toBe("Unknown");
  await harness.check({ except: ["unknown"] });
  await harness.close();
});

test("a key of any other form holds a status and nothing else", async () => {
  const { disk } = await createHarness();
  const kv = createKVStore(disk);
  const revision = await kv.put("anything", create(TaskStatusSchema, { state: StateRunning, metadata: large }));
  expect(await kv.get("anything")).toMatchObject({ revision, value: { state: StateRunning, metadata: large } });
  await expect(kv.put("/payloads/x", create(TaskStatusSchema))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  expect((await disk.scan({ prefix: "", limit: 10 })).map((entry) => entry.key)).toEqual(["anything"]);
});

test("a damaged task is DATA_LOSS to reads, puts and deletes, until its controller deletes it", async () => {
  const harness = await createHarness();
  const kv = createKVStore(harness.disk);
  const status = create(TaskStatusSchema, { state: StateCompleted, labels: { env: "test" } });
  await kv.put(keyOf("a"), status);
  await harness.disk.commit([{ type: "put", key: keyOf("a"), value: new Uint8Array([0xff, 0xff]) }]);
  const marked = createKVStore(damageEntries(harness.disk, (key) => key === keyOf("a")));
  for (const view of [kv, marked]) {
    for (const call of [view.get(keyOf("a")), view.put(keyOf("a"), status), view.delete(keyOf("a"))]) {
      await expectError(call, "DATA_LOSS");
    }
  }
  await harness.open();
  await harness.controller.deleteTask("a");
  await harness.close();
  await kv.put(keyOf("a"), status);
  expect((await harness.keys("/index/")).length).toBe(4);
});
