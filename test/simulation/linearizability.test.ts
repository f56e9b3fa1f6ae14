import { expect, test } from "vitest";
import { type Call, orderComplaint, type Outcome } from "./linearizability.ts";

const call = (kind: Call["kind"], times: [number, number], outcome: Outcome["kind"] | Outcome, run = 0): Call => ({
  kind,
  run,
  began: times[0],
  answered: times[1],
  outcome: typeof outcome === "string" ? ({ kind: outcome } as Outcome) : outcome,
});
const found = (run: number, isEnded = false): Outcome => ({ kind: "found", run, isEnded });
const never = Number.POSITIVE_INFINITY;

const explained: ReadonlyArray<[string, Call[]]> = [
  ["a task is found after its launch", [call("launch", [1, 2], "done", 1), call("get", [3, 4], found(1))]],
  ["a launch that was not answered took place", [call("launch", [1, never], "done", 1), call("get", [3, 4], found(1))]],
  ["or did not", [call("launch", [1, never], "done", 1), call("get", [3, 4], "not found")]],
  [
    "a live run is shown until the launch that replaces it takes place",
    [
      call("launch", [1, 2], "done", 1),
      call("launch", [3, 4], "done", 2),
      call("get", [5, 6], found(1)),
      call("get", [7, 8], found(2)),
    ],
  ],
  [
    "a launch has taken place before the next replaces it",
    [
      call("launch", [1, 2], "done", 1),
      call("launch", [3, 4], "done", 2),
      call("launch", [5, 6], "done", 3),
      call("get", [7, 8], found(2)),
    ],
  ],
  [
    "calls that overlap may be in any order",
    [
      call("launch", [1, 2], "done", 1),
      call("delete", [3, 9], "done"),
      call("get", [4, 5], found(1, true)),
      call("get", [6, 8], "not found"),
    ],
  ],
];

test.each(explained)("there is an order: %s", (_, calls) => expect(orderComplaint(calls)).toBeUndefined());

const unexplained: ReadonlyArray<[string, Call[]]> = [
  ["a launch is lost", [call("launch", [1, 2], "done", 1), call("get", [3, 4], "not found")]],
  ["a task is found that nobody launched", [call("get", [1, 2], found(1)), call("launch", [3, 4], "done", 1)]],
  [
    "a run that had ended is alive",
    [call("launch", [1, 2], "done", 1), call("get", [3, 4], found(1, true)), call("get", [5, 6], found(1))],
  ],
  [
    "a run that was replaced is back",
    [
      call("launch", [1, 2], "done", 1),
      call("launch", [3, 4], "done", 2),
      call("get", [5, 6], found(2)),
      call("get", [7, 8], found(1)),
    ],
  ],
  [
    "a launch is done twice, and takes back a deletion",
    [call("launch", [1, 2], "done", 1), call("delete", [3, 4], "done"), call("get", [5, 6], found(1))],
  ],
];

test.each(unexplained)("there is no order: %s", (_, calls) => expect(orderComplaint(calls)).toMatch(/^no order/));
