import { expect, test } from "vitest";
import { renderStatus } from "../../../src/cli/text/status-text.ts";
import { at, Failed, Pending, Running, startMs, taskStatus } from "../support/fake-task.ts";

test("a status shows what there is and leaves out what says nothing", () => {
  const lines = renderStatus(taskStatus([Pending]), { name: "a/b", revision: 3n, nowMs: startMs });
  expect(lines).toEqual([
    "a/b",
    "  State     Pending",
    "  Run       run-1",
    "  Revision  3",
    "  Created   2026-11-03T12:00:00.000Z",
    "  Changed   2026-11-03T12:00:00.000Z",
    "  Transitions",
    "    2026-11-03T12:00:00.000Z Pending",
  ]);
});

test("a status shows everything, with nothing in it that a terminal obeys", () => {
  const status = taskStatus([Pending, Running, Failed], {
    progress: { current: 3n, total: 10n, message: "copy\x07ing" },
    error: { message: 'no\u202e:\n "x"', reason: "RUNNER_ERROR" },
    metadata: '{\n "limit": "\x1b"}',
    labels: { "k\n": "v" },
    owner: "me",
    runner: "host-1",
    attempt: 2,
    crashCount: 1,
    rejectedWrites: 5n,
    cancel: { reason: "late", requestedBy: "you", requestedAt: at(1), deliveredAt: at(2) },
    endTime: at(61),
    logs: [{ msg: "\x1b[2J", level: 8, timestamp: at(1), seq: 4n }],
    logCount: 4n,
    transitionsDropped: 2n,
  });
  const text = renderStatus(status, { name: "a/b", revision: 9n, nowMs: startMs }).join("\n");
  // oxlint-disable-next-line no-control-regex -- control characters are what this is about
  expect(text).not.toMatch(/[\x00-\x09\x0b-\x1f\u202e]/);
  for (const part of [
    "Failed (after 1m 00s, attempt 2)",
    "3/10 (30%) copy\\x07ing",
    'no\\u202e:\n     "x" (RUNNER_ERROR)',
    '{\n     "limit": "\\x1b"}',
    "k\\n=v",
    "delivered 2026-11-03T12:00:02.000Z by you: late",
    "1 in a row without progress",
    "5 writes of runners",
    "Transitions (the newest 3 of 5)",
    "Log (the newest 1 of 4)",
    "2026-11-03T12:00:01.000Z ERROR \\x1b[2J",
  ]) {
    expect(text).toContain(part);
  }
});

test.each([
  [1n, "Refused   1 write of a runner that had lost the task"],
  [2n, "Refused   2 writes of runners that had lost the task"],
])("a status counts %d refused in words that fit", (rejectedWrites, line) => {
  const status = taskStatus([Pending], { rejectedWrites });
  const lines = renderStatus(status, { name: "a/b", revision: 3n, nowMs: startMs });
  expect(lines.map((each) => each.trim())).toContain(line);
});
