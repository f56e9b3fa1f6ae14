/** Statuses that a program puts over tasks that a controller has had, while that is not open. */
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import { TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { createKVStore } from "../../src/store/task-store.ts";
import { StateCompleted, StatePending } from "../../src/task/state.ts";
import { refusingCommits } from "../support/refusing-store.ts";
import { controllerName, createHarness, type Harness, openHarness } from "../support/controller-harness.ts";

const key = `/tasks/${controllerName}/a`;

const stops = [
  ["crashed", (h: Harness) => h.handle.cut()],
  ["was closed", (h: Harness) => h.close()],
] as const;

describe.each(stops)("a task whose controller %s while it ran, put as Pending", (_, stop) => {
  test.each([1, 2])("with its run is resumed, once (puts: %i)", async (puts) => {
    await using h = await openHarness();
    const { runId } = await h.launch("a");
    await h.runner.phase("a");
    await stop(h);
    h.runner.abandon();
    const kv = createKVStore(h.disk);
    for (let i = 0; i < puts; i += 1) {
      const { value } = (await kv.get(key))!;
      await kv.put(key, { ...value, state: StatePending });
    }
    await h.open();
    const phase = await h.runner.phase("a");
    expect([phase.context.runId, phase.context.attempt]).toEqual([runId, 2]);
    phase.return();
    await h.settle();
    expect([await h.state("a"), await h.keys("/waiting/"), await h.keys("/leases/")]).toEqual(["Completed", [], []]);
  });

  test("anew, while onTaskPending had it, is run", async () => {
    await using h = await createHarness();
    h.runner.scripts.pending = "hold";
    await h.open();
    await h.launch("a");
    await h.runner.phase("a", "pending");
    await stop(h);
    h.runner.abandon();
    await createKVStore(h.disk).put(key, create(TaskStatusSchema, { state: StatePending }));
    h.runner.scripts.pending = () => undefined;
    await h.open();
    (await h.runner.phase("a")).return();
    await h.settle();
    expect([await h.state("a"), await h.keys("/waiting/"), await h.keys("/leases/")]).toEqual(["Completed", [], []]);
  });
});

test("the run that a launch names of a status that was put is one that can be asked for", async () => {
  await using h = await createHarness();
  await createKVStore(h.disk).put(
    key,
    create(TaskStatusSchema, { state: StateCompleted, endTime: timestampFromMs(1_699_000_000_000) }),
  );
  await h.open();
  const { runId } = await h.launch("a", { ifEnded: "use-existing" });
  expect((await h.launch("a", { ifEnded: "use-existing" })).runId).toBe(runId);
  expect((await h.controller.waitTask("a", { runId, timeoutMs: 0 })).done).toBe(true);
});

test("a task that an opening can do nothing for stops no other, is said in the log, and is not called damaged", async () => {
  await using h = await openHarness();
  for (const id of ["a", "b"]) await h.launch(id);
  for (const id of ["a", "b"]) await h.runner.phase(id);
  let refuses = true;
  await h.crash({
    wrap: (store) => refusingCommits(store, (changes) => refuses && changes.some((change) => change.key === key)),
  });
  const next = await h.runner.phase("b");
  expect([next.context.attempt, h.runner.calls("a")]).toEqual([2, ["pending 1", "running 1"]]);
  expect(h.messages("error")).toContainEqual(expect.stringContaining("could not be taken up"));
  expect(h.controller.quarantinedTasks()).toEqual([]);
  refuses = false;
  await h.crash();
  expect((await h.runner.phase("a")).context.attempt).toBe(2);
});
