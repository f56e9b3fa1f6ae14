/** What watches of many tasks do with a task that is damaged. */
import { expect, test } from "vitest";
import { taskKey } from "../../src/store/keys.ts";
import { controllerName, type Harness, openHarness } from "../support/controller-harness.ts";
import { TasksWatching } from "../support/watching.ts";

const garbage = new TextEncoder().encode("hello world, this is no task");

async function overwrite(h: Harness, value: Uint8Array): Promise<void> {
  await h.disk.commit([{ type: "put", key: taskKey(controllerName, "bad"), value }]);
}

async function watchAll(h: Harness): Promise<TasksWatching> {
  const watching = new TasksWatching(h.controller.watchTasks());
  await h.settle();
  return watching;
}

test("it is left out, counted and said once, however many watches find it, in the snapshot or as a change", async () => {
  await using h = await openHarness({ concurrency: 1 });
  for (const taskId of ["bad", "good"]) await h.launch(taskId);
  await h.settle();
  (await h.runner.phase("bad")).return();
  await h.settle();
  const watching = await watchAll(h);
  watching.take();
  await overwrite(h, garbage);
  await h.settle();
  expect(watching.take(), "the change that is the damage").toEqual([]);
  expect(h.controller.quarantinedTasks()).toEqual(["bad"]);
  for (let i = 0; i < 3; i += 1) expect((await watchAll(h)).take()).toEqual(["good Running", "bookmark"]);
  expect(h.faults.counts().tasks_quarantined).toBe(1);
  expect(h.logged.filter(({ level }) => level === "warn" || level === "error")).toMatchObject([
    { fields: { taskId: "bad", fault: "tasks_quarantined", count: 1 } },
  ]);
  await h.controller.deleteTask("bad");
});

test("a version of before that is damaged puts no task into quarantine that is whole now", async () => {
  await using h = await openHarness();
  await h.launch("bad");
  await h.runner.phase("bad");
  await h.settle();
  const sinceRevision = h.disk.revision();
  const whole = await h.disk.get(taskKey(controllerName, "bad"));
  await overwrite(h, garbage);
  await overwrite(h, whole?.value as Uint8Array);
  const watching = new TasksWatching(h.controller.watchTasks({ sinceRevision }));
  await h.settle();
  expect(watching.take()).toEqual(["bookmark", "bad Running"]);
  expect([h.controller.quarantinedTasks(), h.faults.counts().tasks_quarantined]).toEqual([[], 0]);
  expect(h.faults.counts().changes_left_out).toBe(1);
});
