/** What a controller gives out is the caller's own: changing it changes nothing that the controller works with. */
import { expect, test } from "vitest";
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import { openHarness } from "../support/controller-harness.ts";
import { Watching } from "../support/watching.ts";

/** Changes everything that a status has. */
function spoil(status: TaskStatus): void {
  status.labels["env"] = "spoiled";
  status.transitions.length = 0;
  if (status.progress !== undefined) status.progress.current = 999n;
  if (status.createTime !== undefined) status.createTime.seconds = 0n;
  if (status.cancel !== undefined) status.cancel.reason = "spoiled";
  if (status.error !== undefined) status.error.message = "spoiled";
}

test("a status, a progress or an error that is changed by who got it", async () => {
  await using h = await openHarness();
  spoil((await h.launch("a", { labels: { env: "prod" } })).status);
  const phase = await h.runner.phase("a");
  const progress = { current: 1n, total: 9n };
  await phase.task.setProgress(progress);
  progress.current = 999n;
  const read = await phase.task.getProgress();
  if (read !== undefined) read.current = 999n;
  const watching = new Watching(h.controller.watchTask("a"));
  await h.settle();
  for (const { status } of watching.changes) if (status !== undefined) spoil(status);
  spoil(await h.controller.taskStatus("a"));
  for (const { status } of (await h.controller.queryTasks()).tasks) spoil(status);
  spoil((await h.controller.cancelTask("a", { reason: "why" })).status);
  spoil((await h.controller.waitTask("a", { timeoutMs: 0 })).status);
  await phase.task.addLogEntry("info", "written after all that");
  expect(await h.controller.taskStatus("a")).toMatchObject({
    labels: { env: "prod" },
    progress: { current: 1n },
    cancel: { reason: "why" },
  });
  expect((await h.controller.queryTasks({ labels: { env: "prod" } })).tasks).toHaveLength(1);
  phase.throw(new Error("no"));
  h.runner.scripts.completed = ({ args }) => {
    if (args[0] !== undefined) args[0].message = "spoiled";
  };
  await h.settle();
  const { status } = await h.controller.readTask("a");
  expect([status.error?.message, status.transitions.length, status.createTime?.seconds]).toEqual([
    "no",
    3,
    expect.not.stringMatching(/^0$/),
  ]);
  await h.check();
});
