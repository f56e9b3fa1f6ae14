import { status as Code } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import { StatusFailure } from "../support/fake-server.ts";
import { at, Canceled, Completed, Failed, Pending, Running, taskStatus, watchMessage } from "../support/fake-task.ts";
import { parseLines, runCommand } from "../support/run-command.ts";

describe("stint watch", () => {
  test.each([
    [Completed, 0],
    [Failed, 1],
    [Canceled, 3],
  ])("exits as the task ended: state %d is %d", async (state, code) => {
    const answer = await runCommand(["watch", "c", "t"], {
      watchTask: (_request, stream) => {
        stream.send(watchMessage(taskStatus([Pending, Running, state]), { revision: 3n }));
        stream.end();
      },
    });
    expect(answer.code).toBe(code);
  });

  test("prints a line for each event, log entries included when asked for", async () => {
    const answer = await runCommand(
      ["watch", "c", "t", "--logs", "--since", "4", "--wait-for-launch", "--run-id", "r"],
      {
        watchTask: (request, stream) => {
          expect(request).toMatchObject({ includeLogs: true, sinceRevision: 4n, waitForLaunch: true, runId: "r" });
          stream.send(watchMessage(taskStatus([Pending]), { revision: 5n }));
          const logs = [{ msg: "hello\x1b", level: 0, timestamp: at(1), seq: 1n }];
          stream.send(
            watchMessage(taskStatus([Pending, Running], { progress: { current: 1n, total: 2n } }), {
              revision: 6n,
              logs,
            }),
          );
          stream.send(watchMessage(taskStatus([Pending, Running, Completed]), { revision: 7n }));
          stream.end();
        },
      },
    );
    expect(answer.err).toBe("");
    expect(answer.out.split("\n")).toEqual([
      "2026-11-03T12:00:00.000Z c/t Pending",
      "2026-11-03T12:00:01.000Z c/t INFO hello\\x1b",
      "2026-11-03T12:00:01.000Z c/t Running 1/2 (50%)",
      "2026-11-03T12:00:02.000Z c/t Completed",
      "",
    ]);
  });

  test("prints a JSON object for each message", async () => {
    const { out } = await runCommand(["watch", "c", "t", "-o", "json"], {
      watchTask: (_request, stream) => {
        stream.send(watchMessage(undefined, { revision: 5n }));
        stream.send(watchMessage(taskStatus([Pending, Running, Completed]), { revision: 7n }));
        stream.end();
      },
    });
    const lines = parseLines(out);
    expect(lines).toMatchObject([{ revision: "5" }, { revision: "7", status: { state: "Completed", runId: "run-1" } }]);
  });

  test("draws a bar on a terminal, and asks for the log entries that it shows there", async () => {
    const { out, code } = await runCommand(
      ["watch", "c", "t"],
      {
        watchTask: (request, stream) => {
          expect(request.includeLogs).toBe(true);
          stream.send(
            watchMessage(taskStatus([Pending, Running, Completed], { progress: { current: 4n, total: 4n } }), {
              revision: 7n,
            }),
          );
          stream.end();
        },
      },
      { terminal: true },
    );
    expect(code).toBe(0);
    expect(out).toContain("█████");
    expect(out.endsWith("\x1b[?25h")).toBe(true);
  });

  test("draws nothing on a terminal that cannot move its cursor", async () => {
    const { out } = await runCommand(
      ["watch", "c", "t"],
      {
        watchTask: (_request, stream) => {
          stream.send(watchMessage(taskStatus([Completed]), { revision: 7n }));
          stream.end();
        },
      },
      { terminal: true, env: { TERM: "dumb" } },
    );
    expect(out).not.toContain("\x1b");
  });

  test("shows how the task has ended where that was before --since", async () => {
    const answer = await runCommand(["watch", "c", "t", "--since", "9"], {
      watchTask: (_request, stream) => {
        stream.send(watchMessage(undefined, { revision: 9n }));
        stream.end();
      },
      getTaskStatus: () => ({
        status: taskStatus([Pending, Running, Failed], { error: { message: "no" } }),
        revision: 9n,
      }),
    });
    expect(answer).toMatchObject({ code: 1, out: "2026-11-03T12:00:02.000Z c/t Failed no\n" });
  });

  test("says once on stderr that it lost the connection", async () => {
    let streams = 0;
    const answer = await runCommand(["watch", "c", "t"], {
      watchTask: (_request, stream) => {
        streams += 1;
        if (streams === 1) stream.send(watchMessage(taskStatus([Pending]), { revision: 1n }));
        if (streams < 4) throw new StatusFailure(Code.UNAVAILABLE, "stopping");
        stream.send(watchMessage(taskStatus([Pending, Completed]), { revision: 3n }));
        stream.end();
      },
    });
    expect(answer.code).toBe(0);
    expect(answer.err).toMatch(
      /^Lost the connection to 127\.0\.0\.1:\d+ \(stopping\); trying again\.\nConnected again\.\n$/,
    );
  });
});
