import { describe, expect, test } from "vitest";
import { TaskState, TaskTrigger } from "#gen/core/v1/core_pb.js";
import { allStates, isActive, isEnded, nextState, stateName, type Trigger } from "../../src/task/state.ts";

// The table of docs/state-machine.md, written out by hand: what is not in it does not happen.
const legal: ReadonlyArray<[from: string, trigger: Trigger, to: string]> = [
  ["Pending", "Start", "Running"],
  ["Pending", "Error", "Failed"],
  ["Running", "Error", "Failed"],
  ["Pending", "Cancel", "Canceled"],
  ["Running", "Cancel", "Canceled"],
  ["Running", "End", "Completed"],
  ["Pending", "Resume", "Pending"],
  ["Running", "Resume", "Pending"],
  ["Unknown", "Launch", "Pending"],
  ["Pending", "Launch", "Pending"],
  ["Running", "Launch", "Pending"],
  ["Completed", "Launch", "Pending"],
  ["Failed", "Launch", "Pending"],
  ["Canceled", "Launch", "Pending"],
];
const states = ["Unknown", "Pending", "Running", "Completed", "Failed", "Canceled"] as const;
const triggers: readonly Trigger[] = ["Start", "End", "Error", "Cancel", "Resume", "Launch"];
const pairs = states.flatMap((from) => triggers.map((trigger) => ({ from, trigger })));

describe("the transition table", () => {
  test.each(pairs)("leads from $from by $trigger to where the contract says, or nowhere", ({ from, trigger }) => {
    const to = legal.find((row) => row[0] === from && row[1] === trigger)?.[2];
    const next = nextState(TaskState[from], trigger);
    expect(next === undefined ? undefined : stateName(next)).toBe(to);
  });

  test("leads nowhere from a state that has no name", () => {
    for (const trigger of triggers) {
      expect(nextState(5 as TaskState, trigger)).toBeUndefined();
      expect(nextState(99 as TaskState, trigger)).toBeUndefined();
    }
  });
});

describe("states", () => {
  test("have the numbers of corev1", () => {
    expect(states.map((name) => TaskState[name])).toEqual([0, 1, 2, 3, 4, 6]);
    expect([TaskTrigger.Start, TaskTrigger.End, TaskTrigger.Error, TaskTrigger.Cancel]).toEqual([0, 1, 2, 3]);
    expect(allStates).toEqual([0, 1, 2, 3, 4, 6]);
  });
  test("are active, ended or neither", () => {
    expect(states.filter((name) => isActive(TaskState[name]))).toEqual(["Pending", "Running"]);
    expect(states.filter((name) => isEnded(TaskState[name]))).toEqual(["Completed", "Failed", "Canceled"]);
    expect([5, 7, -1].some((state) => isActive(state) || isEnded(state))).toBe(false);
  });
  test("have names, and a number without one is Unknown", () => {
    expect(allStates.map(stateName)).toEqual([...states]);
    expect([5, 7, -1].map((state) => stateName(state))).toEqual(["Unknown", "Unknown", "Unknown"]);
  });
});
