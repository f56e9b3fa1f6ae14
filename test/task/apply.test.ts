import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import {
  ProgressSchema,
  StateTransitionSchema,
  TaskCancelSchema,
  TaskErrorSchema,
  type TaskState,
} from "#gen/core/v1/core_pb.js";
import { apply, isCrashLoop, isSuspect, type TaskEvent } from "../../src/task/apply.ts";
import { defaultTaskLimits } from "../../src/task/limits.ts";
import {
  allStates,
  isActive,
  StateCanceled,
  StateCompleted,
  StateFailed,
  StatePending,
  StateRunning,
  stateName,
} from "../../src/task/state.ts";
import { addTransition, firstLogSeq, nextTask, type Task, timestampMs } from "../../src/task/task.ts";
import { sampleMs, sampleTask } from "../support/sample-task.ts";

const nowMs = sampleMs + 1_000;
const now = timestampFromMs(nowMs);
const error = create(TaskErrorSchema, { code: 2, message: "no", reason: "RUNNER_ERROR" });

const events: readonly TaskEvent[] = [
  { type: "offer", runner: "runner-1" },
  { type: "start" },
  { type: "end", result: "1" },
  { type: "error", error },
  { type: "request-cancel", requestedBy: "ann", reason: "why" },
  { type: "deliver-cancel" },
  { type: "cancel" },
  { type: "resume", reason: "opened", died: true },
  { type: "progress", progress: create(ProgressSchema, { current: 1n }) },
  { type: "logs", added: 1, addedBytes: 5, dropped: 0, droppedBytes: 0 },
  { type: "reject-writes", count: 1 },
];
const pairs = allStates.flatMap((state) =>
  events.map((event) => ({ name: stateName(state), state, type: event.type, event })),
);

function applied(task: Task, event: TaskEvent): Task {
  const outcome = apply(task, event, nowMs);
  if (outcome.kind === "rejected") throw new Error(outcome.reason);
  return outcome.task;
}

describe("an event", () => {
  // The state an event leads to; "same" changes no state. What is not here is rejected.
  const leads: Record<string, Partial<Record<TaskEvent["type"], TaskState | "same">>> = {
    Pending: {
      start: StateRunning,
      error: StateFailed,
      cancel: StateCanceled,
      resume: StatePending,
      "request-cancel": "same",
      "deliver-cancel": "same",
      progress: "same",
      logs: "same",
      offer: "same",
      "reject-writes": "same",
    },
    Running: {
      end: StateCompleted,
      error: StateFailed,
      cancel: StateCanceled,
      resume: StatePending,
      "request-cancel": "same",
      "deliver-cancel": "same",
      progress: "same",
      logs: "same",
      offer: "same",
      "reject-writes": "same",
    },
    Completed: { "reject-writes": "same" },
    Failed: { "reject-writes": "same" },
    Canceled: { "reject-writes": "same" },
  };

  test.each(pairs)(
    "$type does to a task that is $name what the contract says, or nothing",
    ({ name, state, event }) => {
      const task = sampleTask(state);
      const copy = structuredClone(task);
      const to = leads[name]?.[event.type];
      const outcome = apply(task, event, nowMs);
      expect(task).toEqual(copy);
      if (to === undefined) {
        expect(outcome).toEqual({ kind: "rejected", reason: expect.stringContaining(event.type) });
        return;
      }
      if (outcome.kind === "rejected") throw new Error(outcome.reason);
      const { status, record } = outcome.task;
      expect(status.state).toBe(to === "same" ? state : to);
      expect(status.transitions).toHaveLength(to === "same" ? 1 : 2);
      expect(status.transitions.at(-1)?.state).toBe(status.state);
      expect(status.runId).toBe("run-1");
      expect(status.createTime).toEqual(task.status.createTime);
      if (to !== "same") {
        expect(record.isTransition).toBe(true);
        expect(status.transitions.at(-1)?.timestamp).toEqual(now);
        expect(status.updateTime).toEqual(now);
      }
    },
  );

  test("in a state that has no name is rejected", () => {
    for (const event of events) expect(apply(sampleTask(5 as TaskState), event, nowMs).kind).toBe("rejected");
  });
});

describe("a start", () => {
  test("sets the time of the run's first start, and keeps it in later attempts", () => {
    const first = applied(sampleTask(StatePending), { type: "start" });
    expect(first.status.startTime).toEqual(now);
    const again = applied(sampleTask(StatePending, { startTime: timestampFromMs(5) }), { type: "start" });
    expect(again.status.startTime).toEqual(timestampFromMs(5));
  });
});

describe("an end", () => {
  test("has its time, and the result if there is one", () => {
    const { status } = applied(sampleTask(StateRunning), { type: "end", result: "[1]" });
    expect([status.result, status.endTime, status.error]).toEqual(["[1]", now, undefined]);
    expect(applied(sampleTask(StateRunning), { type: "end" }).status.result).toBeUndefined();
  });
  test("by an error has it, and the reason in the transition", () => {
    const { status } = applied(sampleTask(StateRunning), { type: "error", error, reason: "parked" });
    expect([status.error, status.endTime, status.transitions.at(-1)?.reason]).toEqual([error, now, "parked"]);
  });
  test.each(["end", "error", "cancel"] as const)(
    "by %s acknowledges a cancel that was asked for and that it answers, and only then",
    (type) => {
      const unasked: TaskEvent = type === "error" ? { type, error } : { type };
      const event: TaskEvent = type === "error" ? { type, error, answersCancel: true } : { type, answersCancel: true };
      const cancel = create(TaskCancelSchema, { reason: "why", requestedAt: timestampFromMs(5) });
      expect(applied(sampleTask(StateRunning, { cancel }), event).status.cancel).toEqual({
        ...cancel,
        acknowledgedAt: now,
      });
      expect(applied(sampleTask(StateRunning, { cancel }), unasked).status.cancel).toEqual(cancel);
      expect(applied(sampleTask(StateRunning), event).status.cancel).toBeUndefined();
    },
  );
  test("by a cancel says why in the transition", () => {
    const task = sampleTask(StateRunning, { cancel: create(TaskCancelSchema, { reason: "too slow" }) });
    expect(applied(task, { type: "cancel" }).status.transitions.at(-1)?.reason).toBe("too slow");
  });
});

describe("a cancel", () => {
  const request: TaskEvent = { type: "request-cancel", requestedBy: "ann", reason: "why" };

  test("is asked for once: the first is kept", () => {
    const first = applied(sampleTask(StateRunning), request);
    expect(first.status.cancel).toMatchObject({ requestedBy: "ann", reason: "why", requestedAt: now });
    expect(first.status.cancel?.deliveredAt).toBeUndefined();
    expect(applied(first, { ...request, requestedBy: "bob" })).toBe(first);
  });
  test("is delivered once, and only when it was asked for", () => {
    const task = sampleTask(StateRunning);
    expect(applied(task, { type: "deliver-cancel" })).toBe(task);
    const delivered = applied(applied(task, request), { type: "deliver-cancel" });
    expect(delivered.status.cancel).toMatchObject({ requestedBy: "ann", deliveredAt: now });
    expect(applied(delivered, { type: "deliver-cancel" })).toBe(delivered);
  });
  test("is no transition", () => {
    const task = sampleTask(StateRunning, {}, { isTransition: true });
    expect(applied(task, request).record.isTransition).toBe(false);
  });
});

describe("a resume", () => {
  test("is one attempt more and keeps everything else", () => {
    const progress = create(ProgressSchema, { current: 3n });
    const task = sampleTask(
      StateRunning,
      { progress, metadata: "{}", labels: { a: "b" }, owner: "ann", logCount: 3n, attempt: 6 },
      { logLastSeq: 3n, logBytes: 9n },
    );
    const { status, record } = applied(task, { type: "resume", reason: "opened", died: false });
    expect(status).toMatchObject({
      state: StatePending,
      attempt: 7,
      progress,
      metadata: "{}",
      labels: { a: "b" },
      owner: "ann",
      logCount: 3n,
      runId: "run-1",
    });
    expect(record).toMatchObject({ logLastSeq: 3n, logBytes: 9n, queueNumber: 7n, generation: "run-0" });
    expect(status.transitions.map(({ state, reason }) => [state, reason])).toEqual([
      [StateRunning, ""],
      [StatePending, "opened"],
    ]);
  });

  const crashes: ReadonlyArray<[died: boolean, progressed: boolean, before: number, after: number]> = [
    [true, false, 0, 1],
    [true, false, 1, 2],
    [true, false, 2, 3],
    [true, true, 0, 0],
    [false, false, 2, 2],
    [false, true, 0, 0],
  ];
  test.each(crashes)(
    "where the process died: %s, with progress: %s, makes of a count of %d one of %d",
    (died, progressed, before, after) => {
      const task = sampleTask(StateRunning, { crashCount: before }, { attemptProgressed: progressed });
      const resumed = applied(task, { type: "resume", reason: "", died });
      expect(resumed.status.crashCount).toBe(after);
      expect(resumed.record.attemptProgressed).toBe(false);
    },
  );
});

describe("progress", () => {
  test("replaces the one before, clears the count of crashes and counts for the attempt", () => {
    const progress = create(ProgressSchema, { current: 4n, total: 9n, message: "m", unit: "u" });
    const { status, record } = applied(sampleTask(StateRunning, { crashCount: 2 }), { type: "progress", progress });
    expect([status.progress, status.crashCount, record.attemptProgressed]).toEqual([progress, 0, true]);
  });
});

describe("log entries", () => {
  test("are counted, with what was dropped", () => {
    const task = sampleTask(StateRunning, { logCount: 10n, logsDropped: 2n }, { logLastSeq: 30n, logBytes: 100n });
    expect(firstLogSeq(task)).toBe(23n);
    const { status, record } = applied(task, { type: "logs", added: 3, addedBytes: 12, dropped: 4, droppedBytes: 50 });
    expect([status.logCount, status.logsDropped, record.logLastSeq, record.logBytes]).toEqual([13n, 6n, 33n, 62n]);
    expect(firstLogSeq({ status, record })).toBe(27n);
  });
  test("of which none are kept begin above the newest", () => {
    expect(firstLogSeq(sampleTask(StateRunning, { logCount: 4n, logsDropped: 4n }, { logLastSeq: 9n }))).toBe(10n);
  });
});

describe("transitions", () => {
  const many = (length: number) =>
    Array.from({ length }, (_, i) => create(StateTransitionSchema, { state: StateRunning, reason: String(i) }));

  test("are kept up to 256, the newest; the rest is counted", () => {
    const task = sampleTask(StateRunning, { transitions: many(255) });
    const full = applied(task, { type: "resume", reason: "last", died: false });
    expect([full.status.transitions.length, full.status.transitionsDropped]).toEqual([256, 0n]);
    const over = applied(full, { type: "start" });
    expect([over.status.transitions.length, over.status.transitionsDropped]).toEqual([256, 1n]);
    expect(over.status.transitions[0]?.reason).toBe("1");
  });
  test.each([1, 2, 3])("are kept up to a limit of %d, one that was too many before included", (transitionsMax) => {
    const outcome = apply(sampleTask(StateRunning, { transitions: many(5) }), { type: "end" }, nowMs, {
      ...defaultTaskLimits,
      transitionsMax,
    });
    if (outcome.kind === "rejected") throw new Error(outcome.reason);
    expect(outcome.task.status.transitions).toHaveLength(transitionsMax);
    expect(outcome.task.status.transitions.at(-1)?.state).toBe(StateCompleted);
    expect(outcome.task.status.transitionsDropped).toBe(BigInt(6 - transitionsMax));
  });
  test("carry their reason and time", () => {
    const next = nextTask(sampleTask(StatePending));
    addTransition(next, StateRunning, { now, reason: "r", transitionsMax: 9 });
    expect(next.status.transitions.at(-1)).toMatchObject({ state: StateRunning, timestamp: now, reason: "r" });
  });
});

describe("a crash loop", () => {
  test.each([0, 1, 2, 3, 4])("of %d deaths makes an active task a suspect from the second on", (crashCount) => {
    for (const state of allStates) {
      expect(isSuspect(sampleTask(state, { crashCount }))).toBe(isActive(state) && crashCount >= 2);
    }
  });
  test.each([0, 1, 2, 3, 4])("of %d deaths parks a task from the third on, if it was alone", (crashCount) => {
    const task = sampleTask(StatePending, { crashCount });
    expect([isCrashLoop(task, true), isCrashLoop(task, false)]).toEqual([crashCount >= 3, false]);
  });
});

test("the time of a timestamp is whole ms, and 0 for none", () => {
  expect(timestampMs(undefined)).toBe(0);
  expect(timestampMs(timestampFromMs(1_234_567))).toBe(1_234_567);
});
