import { TaskState } from "#gen/core/v1/core_pb.js";

/** The state is not known: neither resumed nor cleaned. */
export const StateUnknown = TaskState.Unknown;
/** Launched and not started. */
export const StatePending = TaskState.Pending;
/** Its runner is doing the work. */
export const StateRunning = TaskState.Running;
/** The runner finished the work. */
export const StateCompleted = TaskState.Completed;
/** The runner gave up with an error. */
export const StateFailed = TaskState.Failed;
/** It was canceled. */
export const StateCanceled = TaskState.Canceled;

/** All states, in the order of their numbers. */
export const allStates: readonly TaskState[] = [
  StateUnknown,
  StatePending,
  StateRunning,
  StateCompleted,
  StateFailed,
  StateCanceled,
];

/** The states of a run that is alive. */
const activeStates: readonly TaskState[] = [StatePending, StateRunning];

export function isActive(state: TaskState): boolean {
  return state === StatePending || state === StateRunning;
}

export function isEnded(state: TaskState): boolean {
  return state === StateCompleted || state === StateFailed || state === StateCanceled;
}

/** What moves a task: the triggers of corev1, and the two that are the controller's own. */
export type Trigger = "Start" | "End" | "Error" | "Cancel" | "Resume" | "Launch";

export interface TransitionRule {
  readonly from: readonly TaskState[];
  readonly trigger: Trigger;
  /** When it happens, for people: docs/state-machine.md is made from this table. */
  readonly when: string;
  readonly to: TaskState;
}

/** The whole state machine. What is not in it does not happen. */
export const transitionTable: readonly TransitionRule[] = [
  { from: [StatePending], trigger: "Start", when: "onTaskPending returned", to: StateRunning },
  { from: activeStates, trigger: "Error", when: "the runner threw", to: StateFailed },
  { from: activeStates, trigger: "Cancel", when: "the task was canceled", to: StateCanceled },
  { from: [StateRunning], trigger: "End", when: "onTaskRunning returned", to: StateCompleted },
  {
    from: activeStates,
    trigger: "Resume",
    when: "the controller was opened, or the runner's lease was lost; one attempt more",
    to: StatePending,
  },
  { from: allStates, trigger: "Launch", when: "the task was launched; a new run", to: StatePending },
];

/** The state that `trigger` leads to from `from`, or undefined where the table has no such rule. */
export function nextState(from: TaskState, trigger: Trigger): TaskState | undefined {
  return transitionTable.find((rule) => rule.trigger === trigger && rule.from.includes(from))?.to;
}

/** The name of a state, such as "Running"; "Unknown" for a number that has none. */
export function stateName(state: TaskState): string {
  return TaskState[state] ?? "Unknown";
}
