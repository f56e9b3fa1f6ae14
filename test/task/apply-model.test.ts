import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { ProgressSchema, TaskErrorSchema, type TaskState } from "#gen/core/v1/core_pb.js";
import { apply, type TaskEvent } from "../../src/task/apply.ts";
import { defaultTaskLimits } from "../../src/task/limits.ts";
import { relaunch } from "../../src/task/relaunch.ts";
import { isEnded, stateName } from "../../src/task/state.ts";
import { firstLogSeq, type Task } from "../../src/task/task.ts";
import { sampleMs } from "../support/sample-task.ts";

type Step = TaskEvent | { readonly type: "launch"; readonly metadata: string | undefined };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.constant<Step>({ type: "start" }) },
  fc.record({ type: fc.constant("end" as const), result: fc.option(fc.constant("1"), { nil: undefined }) }),
  fc.constant<Step>({ type: "error", error: create(TaskErrorSchema, { message: "no" }) }),
  fc.constant<Step>({ type: "request-cancel", requestedBy: "ann", reason: "why" }),
  fc.constant<Step>({ type: "deliver-cancel" }),
  fc.constant<Step>({ type: "cancel" }),
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant("resume" as const), reason: fc.constant("r"), died: fc.boolean() }),
  },
  {
    weight: 2,
    arbitrary: fc
      .nat(9)
      .map((n): Step => ({ type: "progress", progress: create(ProgressSchema, { current: BigInt(n) }) })),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("logs" as const),
      added: fc.nat(5),
      addedBytes: fc.nat(50),
      dropped: fc.constant(0),
      droppedBytes: fc.constant(0),
    }),
  },
  fc.constant<Step>({ type: "offer", runner: "host-7" }),
  fc.record({
    type: fc.constant("reject-writes" as const),
    count: fc.integer({ min: 1, max: 9 }),
    log: fc.constantFrom(undefined, { added: 1, addedBytes: 9, dropped: 0, droppedBytes: 0 }),
  }),
  {
    weight: 2,
    arbitrary: fc.option(fc.constant("{}"), { nil: undefined }).map((metadata): Step => ({ type: "launch", metadata })),
  },
);

/** What the contract says of a task, and no more. */
interface Model {
  state: keyof typeof TaskState;
  attempt: number;
  transitions: number;
  run: number;
  crashes: number;
  progressed: boolean;
  logs: number;
  lastSeq: number;
  rejected: number;
  runner: string;
}

const inEachActive = ["error", "cancel", "resume", "request-cancel", "deliver-cancel", "progress", "logs", "offer"];
const legal: Record<string, readonly string[]> = {
  Pending: [...inEachActive, "start", "reject-writes"],
  Running: [...inEachActive, "end", "reject-writes"],
  Completed: ["reject-writes"],
  Failed: ["reject-writes"],
  Canceled: ["reject-writes"],
};
const leadsTo: Record<string, Model["state"]> = {
  start: "Running",
  end: "Completed",
  error: "Failed",
  cancel: "Canceled",
  resume: "Pending",
};

function follow(model: Model, event: Step): void {
  if (event.type === "launch") {
    const keepsTransitions = model.state === "Running" || model.state === "Failed";
    const keepsLogs = keepsTransitions;
    Object.assign(model, {
      state: "Pending",
      attempt: 1,
      run: model.run + 1,
      transitions: keepsTransitions ? model.transitions + 1 : 1,
      crashes: 0,
      progressed: false,
      logs: keepsLogs ? model.logs : 0,
      rejected: 0,
      runner: "",
    });
    return;
  }
  if (legal[model.state]?.includes(event.type) !== true) return;
  const to = leadsTo[event.type];
  if (to !== undefined) {
    model.state = to;
    model.transitions += 1;
  }
  if (event.type === "resume") {
    model.attempt += 1;
    if (event.died) model.crashes = model.progressed ? 0 : model.crashes + 1;
    model.progressed = false;
    model.runner = "";
  }
  if (event.type === "offer") model.runner = event.runner;
  if (event.type === "progress") Object.assign(model, { progressed: true, crashes: 0 });
  if (event.type === "logs") {
    model.logs += event.added;
    model.lastSeq += event.added;
  }
  if (event.type === "reject-writes") {
    model.rejected += event.count;
    model.logs += event.log?.added ?? 0;
    model.lastSeq += event.log?.added ?? 0;
  }
}

test("every sequence of events leads where the contract says, and breaks no invariant", () => {
  const limits = { ...defaultTaskLimits, transitionsMax: 8 };
  const reached = new Set<string>();
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const model: Model = {
        state: "Pending",
        attempt: 1,
        transitions: 1,
        run: 1,
        crashes: 0,
        progressed: false,
        logs: 0,
        lastSeq: 0,
        rejected: 0,
        runner: "",
      };
      const launch = { labels: {}, owner: "", queueNumber: 1n };
      let { task } = relaunch(undefined, { ...launch, runId: "run-1", metadata: undefined }, sampleMs, limits);
      for (const [i, event] of steps.entries()) {
        const before = task;
        const frozen = structuredClone(before);
        const nowMs = sampleMs + i;
        follow(model, event);
        if (event.type === "launch") {
          task = relaunch(task, { ...launch, runId: `run-${model.run}`, metadata: event.metadata }, nowMs, limits).task;
        } else {
          const outcome = apply(task, event, nowMs, limits);
          if (outcome.kind === "applied") task = outcome.task;
          else expect(isEnded(before.status.state) || leadsTo[event.type] !== undefined).toBe(true);
          if (isEnded(before.status.state)) {
            expect(outcome.kind).toBe(event.type === "reject-writes" ? "applied" : "rejected");
          }
        }
        expect(before).toEqual(frozen);
        check(task, model, before);
        reached.add(`${model.state} by ${event.type}`);
      }
    }),
    { numRuns: 2_000 },
  );
  // Were these not reached, the test would have said nothing.
  expect([...reached]).toEqual(
    expect.arrayContaining([
      "Completed by end",
      "Failed by error",
      "Canceled by cancel",
      "Pending by resume",
      "Pending by launch",
      "Running by start",
      "Completed by reject-writes",
    ]),
  );
}, 60_000);

function check({ status, record }: Task, model: Model, before: Task): void {
  expect(stateName(status.state)).toBe(model.state);
  expect(status.transitions.at(-1)?.state).toBe(status.state);
  expect(status.transitions.length).toBeLessThanOrEqual(8);
  expect(status.transitions.length + Number(status.transitionsDropped)).toBe(model.transitions);
  expect(status.attempt).toBe(model.attempt);
  expect(status.runId).toBe(`run-${model.run}`);
  expect(record.generation).toBe("run-1");
  expect(status.createTime).toEqual(before.status.createTime);
  expect(status.crashCount).toBe(model.crashes);
  expect(Number(status.logCount)).toBe(model.logs);
  expect(Number(record.logLastSeq)).toBe(model.lastSeq);
  expect(Number(record.logLastSeq - firstLogSeq({ status, record }) + 1n)).toBe(model.logs);
  expect(Number(status.rejectedWrites)).toBe(model.rejected);
  expect(status.runner).toBe(model.runner);
  expect(status.endTime !== undefined).toBe(isEnded(status.state));
  expect(status.error !== undefined).toBe(model.state === "Failed");
  if (status.result !== undefined) expect(model.state).toBe("Completed");
}
