import { describe, expect, test } from "vitest";
import { describeMessage, emptyMemory, lineText, type WatchMemory } from "../../../src/cli/text/watch-line.ts";
import {
  at,
  Canceled,
  Completed,
  Failed,
  Pending,
  Running,
  taskStatus,
  transition,
  watchMessage,
} from "../support/fake-task.ts";

/** The lines of each message of a watch, each with its kind before it. */
function describeAll(messages: ReturnType<typeof watchMessage>[]): string[][] {
  let memory: WatchMemory = emptyMemory;
  return messages.map((message) => {
    const described = describeMessage(message, memory);
    memory = described.memory;
    return described.lines.map((line) => `${line.kind} ${lineText(line)}`);
  });
}

describe("what a watch shows", () => {
  test("is the state at first, then each transition and each progress", () => {
    const progress = { current: 1n, total: 4n, unit: "rows" };
    expect(
      describeAll([
        watchMessage(taskStatus([Pending], { waitingFor: "a free place" })),
        watchMessage(taskStatus([Pending, Running])),
        watchMessage(taskStatus([Pending, Running], { progress })),
        watchMessage(taskStatus([Pending, Running], { progress })),
        watchMessage(
          taskStatus([Pending, Running, Completed], {
            progress: { ...progress, current: 4n },
            result: '{"rows":4}',
            endTime: at(2),
          }),
        ),
      ]),
    ).toEqual([
      ["transition Pending waits for a free place"],
      ["transition Running"],
      ["progress 1/4 rows (25%)"],
      [],
      ['transition Completed 4/4 rows (100%), in 1.0s, result {"rows":4}'],
    ]);
  });

  test("is the newest transition alone, of a task that has many already", () => {
    expect(describeAll([watchMessage(taskStatus([Pending, Running, Pending, Running]))])).toEqual([
      ["transition Running"],
    ]);
  });

  test("leaves out no transition where several came at once", () => {
    const resumed = taskStatus([Pending, Running]);
    resumed.transitions.push(transition(Pending, 2, "resumed"), transition(Running, 3));
    expect(describeAll([watchMessage(taskStatus([Pending, Running])), watchMessage(resumed)])[1]).toEqual([
      "transition Pending: resumed",
      "transition Running",
    ]);
  });

  test("keeps the reason of a transition apart from the progress behind it", () => {
    const resumed = taskStatus([Running], { progress: { current: 3n, total: 10n } });
    resumed.transitions.push(transition(Pending, 2, "the server was started again"));
    resumed.state = Pending;
    expect(describeAll([watchMessage(resumed)])).toEqual([
      ["transition Pending: the server was started again; 3/10 (30%)"],
    ]);
  });

  test("is all of a new run's transitions, where the old ones were cleared", () => {
    const relaunched = taskStatus([], { state: Running, runId: "run-2" });
    relaunched.transitions.push(transition(Pending, 10), transition(Running, 11));
    const lines = describeAll([watchMessage(taskStatus([Pending, Running, Canceled])), watchMessage(relaunched)]);
    expect(lines[1]).toEqual(["transition Pending", "transition Running"]);
  });

  test("has log entries once, in the order of time with the transitions", () => {
    const logs = [
      { msg: "prepared", level: 0, timestamp: at(0.5), seq: 1n },
      { msg: "step\n1", level: 4, timestamp: at(1.5), seq: 2n },
    ];
    const status = taskStatus([Pending, Running]);
    expect(
      describeAll([
        watchMessage(taskStatus([Pending])),
        watchMessage(status, { logs }),
        watchMessage(status, { logs }),
      ]),
    ).toEqual([["transition Pending"], ["log INFO prepared", "transition Running", "log WARN step\\n1"], []]);
  });

  test("is nothing for a bookmark", () => {
    expect(describeAll([watchMessage(undefined)])).toEqual([[]]);
  });

  test("says once that a cancel was requested, and why it failed", () => {
    const cancel = { reason: "wrong\x1binput", requestedAt: at(2) };
    expect(
      describeAll([
        watchMessage(taskStatus([Pending, Running])),
        watchMessage(taskStatus([Pending, Running], { cancel })),
        watchMessage(taskStatus([Pending, Running], { cancel })),
        watchMessage(taskStatus([Pending, Running, Canceled], { cancel })),
      ]),
    ).toEqual([
      ["transition Running"],
      ["cancel cancel requested: wrong\\x1binput"],
      [],
      ["transition Canceled wrong\\x1binput"],
    ]);
    const canceled = taskStatus([Pending, Canceled], { cancel });
    canceled.transitions.push(transition(Canceled, 2, "wrong\x1binput"));
    expect(describeAll([watchMessage(canceled)])).toEqual([["transition Canceled: wrong\\x1binput"]]);
    const error = { message: "step 3 failed", reason: "EXIT_CODE", details: { exit_code: "7" } };
    expect(describeAll([watchMessage(taskStatus([Pending, Running, Failed], { error }))])).toEqual([
      ["transition Failed step 3 failed (EXIT_CODE, exit_code 7)"],
    ]);
  });
});
