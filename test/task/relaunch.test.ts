import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import {
  ProgressSchema,
  StateTransitionSchema,
  TaskCancelSchema,
  TaskErrorSchema,
  TaskState,
} from "#gen/core/v1/core_pb.js";
import { defaultTaskLimits } from "../../src/task/limits.ts";
import { decideLaunch, type LaunchPolicy, relaunch } from "../../src/task/relaunch.ts";
import { stateName } from "../../src/task/state.ts";
import { sampleMs, sampleTask } from "../support/sample-task.ts";

const launch = { runId: "run-2", metadata: undefined, labels: { env: "new" }, owner: "ann", queueNumber: 9n };
const nowMs = sampleMs + 5_000;

type Kept = {
  progress: boolean;
  metadata: boolean;
  givenMetadata: boolean;
  logs: boolean;
  entry: boolean;
  transitions: boolean;
};

// "What a new run keeps", written out by hand (docs/state-machine.md has it as the code does).
// metadata: kept where the launch gives none; givenMetadata: kept although it gives some.
const rows: ReadonlyArray<[state: keyof typeof TaskState, kept: Kept]> = [
  ["Running", { progress: true, metadata: true, givenMetadata: false, logs: true, entry: false, transitions: true }],
  ["Failed", { progress: false, metadata: false, givenMetadata: false, logs: true, entry: true, transitions: true }],
  [
    "Canceled",
    { progress: true, metadata: false, givenMetadata: false, logs: false, entry: false, transitions: false },
  ],
  [
    "Pending",
    { progress: false, metadata: false, givenMetadata: false, logs: false, entry: false, transitions: false },
  ],
  [
    "Completed",
    { progress: false, metadata: false, givenMetadata: false, logs: false, entry: false, transitions: false },
  ],
  [
    "Unknown",
    { progress: false, metadata: false, givenMetadata: false, logs: false, entry: false, transitions: false },
  ],
];

function busyTask(state: TaskState) {
  const at = (each: TaskState) => create(StateTransitionSchema, { state: each, timestamp: timestampFromMs(sampleMs) });
  return sampleTask(
    state,
    {
      attempt: 4,
      progress: create(ProgressSchema, { current: 3n, total: 10n }),
      metadata: '{"old":1}',
      labels: { env: "old", only: "before" },
      owner: "bob",
      transitions: [at(TaskState.Pending), at(TaskState.Running), at(state)],
      transitionsDropped: 5n,
      error: create(TaskErrorSchema, { message: "no" }),
      result: "1",
      cancel: create(TaskCancelSchema, { reason: "why" }),
      crashCount: 2,
      startTime: timestampFromMs(sampleMs),
      endTime: timestampFromMs(sampleMs),
      waitingFor: "x",
      runner: "r",
      rejectedWrites: 3n,
      logCount: 20n,
      logsDropped: 8n,
    },
    { logLastSeq: 42n, logBytes: 100n, attemptProgressed: true },
  );
}

describe("what a new run keeps of the one before", () => {
  test.each(rows)("when that is %s", (state, kept) => {
    const before = busyTask(TaskState[state]);
    const { task, logEntry, clearsLogs } = relaunch(before, launch, nowMs);
    const given = relaunch(before, { ...launch, metadata: '{"new":1}' }, nowMs).task;
    expect({
      progress: task.status.progress?.current === 3n,
      metadata: task.status.metadata === '{"old":1}',
      givenMetadata: given.status.metadata !== '{"new":1}',
      logs: task.status.logCount === 20n && task.status.logsDropped === 8n && task.record.logBytes === 100n,
      entry: logEntry !== undefined,
      transitions: task.status.transitions.length === 4 && task.status.transitionsDropped === 5n,
    }).toEqual(kept);
    // What is not kept is gone, and not only different.
    if (!kept.progress) expect(task.status.progress).toBeUndefined();
    if (!kept.metadata) expect(task.status.metadata).toBe("");
    if (!kept.logs) expect([task.status.logCount, task.status.logsDropped, task.record.logBytes]).toEqual([0n, 0n, 0n]);
    if (!kept.transitions) expect([task.status.transitions.length, task.status.transitionsDropped]).toEqual([1, 0n]);
    expect(clearsLogs).toBe(!kept.logs);
    if (kept.entry) expect(logEntry).toMatch(/^restarting.*Failed$/);
  });

  test.each(rows)("resets what every launch resets, when that is %s", (state) => {
    const { status, record } = relaunch(busyTask(TaskState[state]), launch, nowMs).task;
    expect(status).toMatchObject({
      state: TaskState.Pending,
      runId: "run-2",
      attempt: 1,
      labels: { env: "new" },
      owner: "ann",
      crashCount: 0,
      createTime: timestampFromMs(sampleMs),
      updateTime: timestampFromMs(nowMs),
      runner: "",
      waitingFor: "",
      rejectedWrites: 0n,
    });
    for (const field of ["error", "result", "cancel", "startTime", "endTime"] as const) {
      expect(status[field], field).toBeUndefined();
    }
    expect(record).toMatchObject({
      generation: "run-0",
      queueNumber: 9n,
      logLastSeq: 42n,
      attemptProgressed: false,
      isTransition: true,
    });
    const last = status.transitions.at(-1);
    expect(last).toMatchObject({ state: TaskState.Pending, timestamp: timestampFromMs(nowMs) });
    expect(last?.reason).toContain(state);
  });

  test("is nothing when there was none", () => {
    const { task, logEntry, clearsLogs } = relaunch(undefined, launch, nowMs);
    expect(task.status).toMatchObject({ createTime: timestampFromMs(nowMs), runId: "run-2", attempt: 1 });
    expect(task.status.transitions.map(({ state, reason }) => [stateName(state), reason])).toEqual([["Pending", ""]]);
    expect(task.record).toMatchObject({ generation: "run-2", logLastSeq: 0n });
    expect([logEntry, clearsLogs]).toEqual([undefined, false]);
  });

  test("stays within the limit of transitions", () => {
    const before = busyTask(TaskState.Failed);
    const { status } = relaunch(before, launch, nowMs, { ...defaultTaskLimits, transitionsMax: 3 }).task;
    expect(status.transitions).toHaveLength(3);
    expect(status.transitionsDropped).toBe(6n);
  });

  test("does not share labels with who launched it", () => {
    const labels = { env: "new" };
    const { status } = relaunch(undefined, { ...launch, labels }, nowMs).task;
    labels.env = "changed";
    expect(status.labels).toEqual({ env: "new" });
  });

  test("keeps metadata that is a record of its own, only where metadata is kept", () => {
    const of = (state: TaskState) => sampleTask(state, {}, { metadataBytes: 5_000, resultBytes: 4_000 });
    expect(relaunch(of(TaskState.Running), launch, nowMs).task.record).toMatchObject({
      metadataBytes: 5_000,
      resultBytes: 0,
    });
    expect(relaunch(of(TaskState.Canceled), launch, nowMs).task.record).toMatchObject({
      metadataBytes: 0,
      resultBytes: 0,
    });
  });
});

describe("what a launch does where the id is there already", () => {
  const ifActive = ["restart", "fail", "use-existing"] as const;
  const ifEnded = ["relaunch", "relaunch-unless-completed", "use-existing", "fail"] as const;
  const policies = ifActive.flatMap((a) => ifEnded.map((e): LaunchPolicy => ({ ifActive: a, ifEnded: e })));

  test.each(policies)("with if_active $ifActive and if_ended $ifEnded", (policy) => {
    const active = { restart: "restart", fail: "refuse", "use-existing": "use-existing" }[policy.ifActive];
    const ended = {
      relaunch: "launch",
      "relaunch-unless-completed": "launch",
      "use-existing": "use-existing",
      fail: "refuse",
    }[policy.ifEnded];
    const completed = policy.ifEnded === "relaunch-unless-completed" ? "use-existing" : ended;
    expect({
      none: decideLaunch(undefined, policy),
      Unknown: decideLaunch(TaskState.Unknown, policy),
      Pending: decideLaunch(TaskState.Pending, policy),
      Running: decideLaunch(TaskState.Running, policy),
      Completed: decideLaunch(TaskState.Completed, policy),
      Failed: decideLaunch(TaskState.Failed, policy),
      Canceled: decideLaunch(TaskState.Canceled, policy),
    }).toEqual({
      none: "launch",
      Unknown: "launch",
      Pending: active,
      Running: active,
      Completed: completed,
      Failed: ended,
      Canceled: ended,
    });
  });
});
