import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { status as Code } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import { type WatchTasksRequest, WatchTasksResponseSchema } from "#gen/stint/v1/controller_pb.js";
import { Interrupted } from "../../../src/cli/io.ts";
import { runProgram } from "../../../src/cli/program.ts";
import { createFakeIo, hastyClock } from "../support/fake-io.ts";
import { openFakeServer, StatusFailure } from "../support/fake-server.ts";
import { Completed, Pending, Running, taskStatus } from "../support/fake-task.ts";
import { parseLines } from "../support/run-command.ts";

type Reply = MessageInitShape<typeof WatchTasksResponseSchema>;

const change = (taskId: string, revision: bigint, status: TaskStatus): Reply =>
  create(WatchTasksResponseSchema, { controller: "c", taskId, revision, status });
const bookmark = (revision: bigint): Reply => ({ revision, bookmark: true });
const unavailable = new StatusFailure(Code.UNAVAILABLE, "the server is stopping");

/** Runs the command line against streams that send this and break, with a failure of their own where they have one; it is interrupted when the last is over. */
async function watchAll(args: readonly string[], ...streams: readonly (readonly (Reply | StatusFailure)[])[]) {
  const requests: WatchTasksRequest[] = [];
  const io = createFakeIo({ clock: hastyClock });
  await using server = await openFakeServer({
    watchTasks: (request, stream) => {
      requests.push(request);
      const replies = streams[requests.length - 1];
      if (replies === undefined) return io.interrupt(new Interrupted("SIGINT"));
      for (const reply of replies) {
        if (reply instanceof StatusFailure) return stream.fail(reply);
        stream.send(reply);
      }
      stream.fail(unavailable);
    },
  });
  const code = await runProgram(["watch", "c", "--server", server.address, ...args], io);
  return { code, out: io.stdout.text, err: io.stderr.text, requests };
}

describe("stint watch without an id", () => {
  test("prints a line for each event of every task, until it is stopped", async () => {
    const { code, out, requests } = await watchAll(
      [],
      [
        change("ended", 2n, taskStatus([Pending, Running, Completed])),
        change("a\x1b", 3n, taskStatus([Pending])),
        bookmark(4n),
        change("a\x1b", 5n, taskStatus([Pending, Running], { progress: { current: 1n, total: 2n } })),
        change("b", 6n, taskStatus([Pending])),
        change("a\x1b", 7n, taskStatus([Pending, Running, Completed])),
      ],
    );
    expect(code).toBe(130);
    expect(requests[0]).toMatchObject({ controller: "c", sinceRevision: 0n });
    expect(out.split("\n")).toEqual([
      "2026-11-03T12:00:00.000Z c/a\\x1b Pending",
      "2026-11-03T12:00:01.000Z c/a\\x1b Running 1/2 (50%)",
      "2026-11-03T12:00:00.000Z c/b Pending",
      "2026-11-03T12:00:02.000Z c/a\\x1b Completed",
      "",
    ]);
  });

  test("goes on behind the snapshot's bookmark where the stream breaks, and before it begins again", async () => {
    const { out, err, requests } = await watchAll(
      [],
      [change("a", 9n, taskStatus([Pending]))],
      [change("a", 9n, taskStatus([Pending])), change("b", 3n, taskStatus([Pending])), bookmark(10n)],
      [
        change("b", 12n, taskStatus([Pending, Running])),
        { ...change("a", 13n, taskStatus([])), status: undefined, deleted: true },
      ],
    );
    expect(requests.map(({ sinceRevision }) => sinceRevision)).toEqual([0n, 0n, 10n, 13n]);
    expect(out.split("\n").map((line) => line.split(" ").slice(1).join(" "))).toEqual([
      "c/a Pending",
      "c/b Pending",
      "c/b Running",
      "c/a deleted",
      "",
    ]);
    expect(err).toMatch(/^Lost the connection to .*\nConnected again\.\n/);
  });

  test("leaves out what had ended before also where it begins again because the history is gone", async () => {
    const { out, err, requests } = await watchAll(
      ["--since", "4"],
      [
        change("a", 5n, taskStatus([Pending])),
        change("b", 6n, taskStatus([Pending, Running])),
        new StatusFailure(Code.OUT_OF_RANGE, "that history is gone"),
      ],
      [
        change("ended", 2n, taskStatus([Pending, Running, Completed])),
        change("a", 5n, taskStatus([Pending])),
        change("b", 9n, taskStatus([Pending, Running, Completed])),
        bookmark(10n),
        change("c", 11n, taskStatus([Pending, Running, Completed])),
      ],
    );
    expect(requests.map(({ sinceRevision }) => sinceRevision)).toEqual([4n, 0n, 11n]);
    expect(out.split("\n").map((line) => line.split(" ").slice(1).join(" "))).toEqual([
      "c/a Pending",
      "c/b Running",
      "c/b Completed",
      "c/c Completed",
      "",
    ]);
    expect(err).toMatch(/^that history is gone: starting again/);
  });

  test("prints a JSON object for each message, from a revision on", async () => {
    const args = ["--since", "4", "-o", "json"];
    const { out, requests } = await watchAll(args, [change("a", 5n, taskStatus([Pending])), bookmark(6n)]);
    expect(requests.map(({ sinceRevision }) => sinceRevision)).toEqual([4n, 6n]);
    expect(parseLines(out)).toMatchObject([
      { controller: "c", taskId: "a", revision: "5", status: { state: "Pending" } },
      { revision: "6", bookmark: true },
    ]);
  });
});
