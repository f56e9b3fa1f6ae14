import type { MessageInitShape } from "@bufbuild/protobuf";
import { status as Code } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import type { LogEntrySchema } from "#gen/core/v1/core_pb.js";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import type { ListTaskLogsRequest, WatchTaskRequest } from "#gen/stint/v1/controller_pb.js";
import { type FakeHandlers, StatusFailure } from "../support/fake-server.ts";
import { at, Canceled, Completed, Failed, Pending, Running, taskStatus, watchMessage } from "../support/fake-task.ts";
import { keep, parseLines, runCommand } from "../support/run-command.ts";

/** Entry `seq` of a log: every fourth is an error. */
function entry(seq: number): MessageInitShape<typeof LogEntrySchema> {
  return { seq: BigInt(seq), msg: `entry ${seq}`, level: seq % 4 === 0 ? 8 : 0, timestamp: at(seq) };
}

function entries(from: number, to: number): MessageInitShape<typeof LogEntrySchema>[] {
  return Array.from({ length: to - from + 1 }, (_, index) => entry(from + index));
}

/** A task with so many entries, in pages of 3, as the service has them. */
function serveLog(count: () => number, states = [Pending, Running], requests: ListTaskLogsRequest[] = []) {
  return {
    getTaskStatus: () => ({ status: taskStatus(states, { logCount: BigInt(count()) }), revision: 5n }),
    listTaskLogs: (request: ListTaskLogsRequest) => {
      requests.push(request);
      const after = Number(request.pageToken || request.afterSeq);
      const page = entries(after + 1, Math.min(after + 3, count()));
      const wanted = page.filter(({ level = 0 }) => level >= (request.minLevel ?? -100));
      return { entries: wanted, nextPageToken: after + 3 < count() ? String(after + 3) : "" };
    },
  } satisfies FakeHandlers;
}

function numbersOf(out: string): number[] {
  return [...out.matchAll(/entry (\d+)/g)].map(([, number]) => Number(number));
}

describe("stint logs", () => {
  test("prints the entries of all pages, a line each", async () => {
    const { code, out, err } = await runCommand(
      ["logs", "c", "t"],
      serveLog(() => 7),
    );
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(numbersOf(out)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(out.split("\n").slice(3, 5)).toEqual([
      "2026-11-03T12:00:04.000Z ERROR entry 4",
      "2026-11-03T12:00:05.000Z INFO entry 5",
    ]);
  });

  test("prints a JSON object for each entry", async () => {
    const { out } = await runCommand(
      ["logs", "c", "t", "-o", "json"],
      serveLog(() => 2),
    );
    expect(parseLines(out)).toMatchObject([
      { msg: "entry 1", seq: "1" },
      { msg: "entry 2", seq: "2" },
    ]);
  });

  test.each<[string[], number[]]>([
    [
      ["--after", "5"],
      [6, 7, 8, 9],
    ],
    [
      ["-n", "2"],
      [8, 9],
    ],
    [
      ["-n", "4", "--after", "7"],
      [8, 9],
    ],
    [["-n", "0"], []],
    [
      ["-n", "100"],
      [1, 2, 3, 4, 5, 6, 7, 8, 9],
    ],
    [
      ["--min-level", "error"],
      [4, 8],
    ],
    [["--min-level", "WARN", "-n", "1"], [8]],
    [["--min-level", "9"], []],
  ])("prints only what %j asks for", async (args, numbers) => {
    const { code, out } = await runCommand(
      ["logs", "c", "t", ...args],
      serveLog(() => 9),
    );
    expect({ code, numbers: numbersOf(out) }).toEqual({ code: 0, numbers });
  });

  test("reads no more than the newest where no more is wanted", async () => {
    const requests: ListTaskLogsRequest[] = [];
    await runCommand(
      ["logs", "c", "t", "-n", "2"],
      serveLog(() => 900, [Running], requests),
    );
    expect(requests.map(({ afterSeq, pageToken }) => [afterSeq, pageToken])).toEqual([[898n, ""]]);
  });

  test("does not print what a terminal would obey", async () => {
    const { out } = await runCommand(["logs", "c", "t"], {
      listTaskLogs: () => ({ entries: [{ msg: "a\x1b[2Jb\nc", timestamp: at(0), seq: 1n }] }),
    });
    expect(out).toBe("2026-11-03T12:00:00.000Z INFO a\\x1b[2Jb\\nc\n");
  });

  test.each(["--min-level=loud", "--after=-1", "--limit=some"])("%s is a mistake", async (option) => {
    expect(await runCommand(["logs", "c", "t", option])).toMatchObject({ code: 2, out: "" });
  });
});

describe("stint logs --follow", () => {
  test.each([
    [Completed, 0],
    [Failed, 1],
    [Canceled, 3],
  ])("exits as the task has ended before, without a watch: state %d is %d", async (state, code) => {
    const { out, ...answer } = await runCommand(
      ["logs", "c", "t", "-f"],
      serveLog(() => 4, [Pending, Running, state]),
    );
    expect({ ...answer, numbers: numbersOf(out) }).toEqual({ code, err: "", numbers: [1, 2, 3, 4] });
  });

  test("goes on from the revision before the list, and prints nothing twice", async () => {
    const watches: WatchTaskRequest[] = [];
    const { code, out } = await runCommand(["logs", "c", "t", "-f", "--min-level", "info"], {
      ...serveLog(() => 4),
      watchTask: (request, stream) => {
        watches.push(request);
        // 4 was listed already.
        stream.send(watchMessage(undefined, { revision: 6n, logs: entries(3, 6) }));
        stream.send(watchMessage(taskStatus([Pending, Running, Failed]), { revision: 7n, logs: entries(7, 7) }));
        stream.end();
      },
    });
    expect({ code, numbers: numbersOf(out) }).toEqual({ code: 1, numbers: [1, 2, 3, 4, 5, 6, 7] });
    expect(watches).toMatchObject([{ sinceRevision: 5n, includeLogs: true }]);
  });

  test.each<[string[], number[]]>([
    [
      ["--min-level", "error"],
      [4, 8],
    ],
    [
      ["-n", "1"],
      [4, 5, 6, 7, 8],
    ],
    [
      ["-n", "0"],
      [5, 6, 7, 8],
    ],
    [
      ["--after", "6"],
      [7, 8],
    ],
  ])("holds %j against what comes too", async (args, numbers) => {
    const { out } = await runCommand(["logs", "c", "t", "-f", ...args], {
      ...serveLog(() => 4),
      watchTask: (_request, stream) => {
        stream.send(watchMessage(taskStatus([Pending, Running, Completed]), { revision: 7n, logs: entries(5, 8) }));
        stream.end();
      },
    });
    expect(numbersOf(out)).toEqual(numbers);
  });

  test("goes on after a restart, also where nothing had come before it", async () => {
    const watches: WatchTaskRequest[] = [];
    const { code, out, err } = await runCommand(["logs", "c", "t", "-f"], {
      ...serveLog(() => 1),
      watchTask: (request, stream) => {
        watches.push(request);
        if (watches.length === 1) throw new StatusFailure(Code.UNAVAILABLE, "stopping");
        if (watches.length === 2) {
          stream.send(watchMessage(undefined, { revision: 6n, logs: [entry(2)] }));
          stream.fail(new StatusFailure(Code.UNAVAILABLE, "stopping"));
          return;
        }
        stream.send(watchMessage(taskStatus([Completed]), { revision: 7n, logs: [entry(3)] }));
        stream.end();
      },
    });
    expect({ code, numbers: numbersOf(out) }).toEqual({ code: 0, numbers: [1, 2, 3] });
    expect(watches.map(({ sinceRevision }) => sinceRevision)).toEqual([5n, 5n, 6n]);
    expect(err.match(/Connected again/g)).toHaveLength(2);
  });

  test("has the list fill in what the watch left out where the history was gone", async () => {
    let count = 2;
    let watches = 0;
    const { code, out } = await runCommand(["logs", "c", "t", "-f"], {
      ...serveLog(() => count),
      watchTask: (_request, stream) => {
        watches += 1;
        if (watches === 1) {
          count = 9;
          throw new StatusFailure(Code.OUT_OF_RANGE, "the history is gone", [
            [ErrorInfoSchema, { reason: "COMPACTED", domain: "stint.v1" }],
          ]);
        }
        // As the service: of a watch that begins with the task as it is, only the newest.
        stream.send(watchMessage(taskStatus([Pending, Completed]), { revision: 9n, logs: entries(8, 9) }));
        stream.end();
      },
    });
    expect({ code, numbers: numbersOf(out) }).toEqual({ code: 0, numbers: [1, 2, 3, 4, 5, 6, 7, 8, 9] });
  });

  test("of a task that is not there is an error at once", async () => {
    const requests: unknown[] = [];
    const { code, err } = await runCommand(["logs", "c", "t", "-f"], {
      getTaskStatus: (request) => {
        keep(requests, request, undefined);
        throw new StatusFailure(Code.NOT_FOUND, "no such task");
      },
    });
    expect({ code, err, calls: requests.length }).toEqual({
      code: 1,
      err: "error: no such task (NOT_FOUND)\n",
      calls: 1,
    });
  });
});
