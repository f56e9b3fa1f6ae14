import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import { ProgressSchema, TaskErrorSchema } from "#gen/core/v1/core_pb.js";
import { apply, type TaskEvent } from "../../src/task/apply.ts";
import { allStates, isActive, isEnded, StateCompleted, StatePending, StateRunning } from "../../src/task/state.ts";
import type { Task } from "../../src/task/task.ts";
import { sampleMs, sampleTask } from "../support/sample-task.ts";

const nowMs = sampleMs + 1_000;
const now = timestampFromMs(nowMs);
const error = create(TaskErrorSchema, { code: 2, message: "no", reason: "RUNNER_ERROR" });

function applied(task: Task, event: TaskEvent): Task {
  const outcome = apply(task, event, nowMs);
  if (outcome.kind === "rejected") throw new Error(outcome.reason);
  return outcome.task;
}

describe("an offer", () => {
  test("names the runner, until the run is resumed, and is no transition", () => {
    const offered = applied(sampleTask(StatePending, {}, { isTransition: true }), { type: "offer", runner: "host-7" });
    expect([offered.status.runner, offered.status.updateTime, offered.record.isTransition]).toEqual([
      "host-7",
      now,
      false,
    ]);
    expect(applied(offered, { type: "start" }).status.runner).toBe("host-7");
    expect(applied(offered, { type: "resume", reason: "", died: false }).status.runner).toBe("");
  });
});

describe("what a remote runner said", () => {
  const progress = create(ProgressSchema, { current: 1n });
  const logs = { added: 1, addedBytes: 1, dropped: 0, droppedBytes: 0 };
  const written = (event: TaskEvent): bigint[] => {
    const { record } = applied(sampleTask(StateRunning, {}, { writtenSeq: 4n, endFence: 5n, endSeq: 6n }), event);
    return [record.writtenSeq, record.endFence, record.endSeq];
  };

  test.each<TaskEvent>([
    { type: "progress", progress, seq: 9n },
    { type: "logs", ...logs, seq: 9n },
    { type: "end", seq: 9n },
    { type: "error", error, seq: 9n },
    { type: "cancel", seq: 9n },
  ])("is counted up to where it is on disk: by $type", (event) => {
    expect(written(event)).toEqual([9n, 5n, 6n]);
    expect(written({ ...event, seq: undefined } as TaskEvent)).toEqual([4n, 5n, 6n]);
  });
  test("to start the task is counted too", () => {
    expect(applied(sampleTask(StatePending), { type: "start", seq: 1n }).record.writtenSeq).toBe(1n);
  });
  test.each<TaskEvent>([
    { type: "end", seq: 9n, fence: 77n },
    { type: "error", error, seq: 9n, fence: 77n },
    { type: "cancel", seq: 9n, fence: 77n },
  ])("to end the run, by $type, leaves its fence, and up to where it was said", (event) => {
    expect(written(event)).toEqual([9n, 77n, 9n]);
    expect(written({ ...event, seq: undefined } as TaskEvent)).toEqual([4n, 77n, 4n]);
  });
  test("is counted anew in each attempt", () => {
    const resume: TaskEvent = { type: "resume", reason: "", died: false };
    expect(written(resume)).toEqual([0n, 5n, 6n]);
    expect(written({ ...resume, fence: 77n })).toEqual([0n, 77n, 4n]);
    expect(written({ ...resume, seq: 9n, fence: 77n })).toEqual([0n, 77n, 9n]);
  });
});

describe("writes that were refused", () => {
  const log = { added: 1, addedBytes: 5, dropped: 3, droppedBytes: 9 };

  test.each(allStates.filter((state) => isActive(state) || isEnded(state)))(
    "of a task in state %d are counted and logged, and nothing else of it changes",
    (state) => {
      const task = sampleTask(
        state,
        { rejectedWrites: 2n, logCount: 10n, logsDropped: 2n },
        { logLastSeq: 30n, logBytes: 100n, isTransition: true, attemptProgressed: true, writtenSeq: 3n, endFence: 4n },
      );
      const { status, record } = applied(task, { type: "reject-writes", count: 40, log });
      expect(status).toEqual({
        ...task.status,
        rejectedWrites: 42n,
        logCount: 11n,
        logsDropped: 5n,
        updateTime: now,
      });
      const counts = { logLastSeq: 31n, logBytes: 96n, rejectedEntries: 1 };
      expect(record).toEqual({ ...task.record, ...counts, isTransition: false });
    },
  );
  test("may be counted without an entry", () => {
    const { status } = applied(sampleTask(StateCompleted), { type: "reject-writes", count: 1 });
    expect([status.rejectedWrites, status.logCount]).toEqual([1n, 0n]);
  });
});
