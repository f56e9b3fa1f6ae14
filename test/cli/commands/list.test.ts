import { describe, expect, test } from "vitest";
import { type ListTasksRequest, TaskOrder } from "#gen/stint/v1/controller_pb.js";
import { Failed, Pending, Running, taskStatus } from "../support/fake-task.ts";
import { keep, parseLines, runCommand } from "../support/run-command.ts";

describe("stint list", () => {
  /** 2,500 tasks, the first page of them empty. */
  function listHandlers(requests: ListTasksRequest[]) {
    return {
      listTasks: (request: ListTasksRequest) => {
        requests.push(request);
        if (request.pageToken === "") return { nextPageToken: "0", totalSize: 2500n };
        const from = Number(request.pageToken);
        const count = Math.min(request.pageSize, 1000, 2500 - from);
        const tasks = Array.from({ length: count }, (_, index) => ({
          taskId: `t${from + index}`,
          status: taskStatus([Pending]),
        }));
        return { tasks, nextPageToken: from + count < 2500 ? String(from + count) : "" };
      },
    };
  }

  test("pages through to the limit, over pages that are empty", async () => {
    const requests: ListTasksRequest[] = [];
    const { out, err, code } = await runCommand(["list", "c", "-n", "1200"], listHandlers(requests));
    expect(code).toBe(0);
    expect(out.split("\n")).toHaveLength(1200 + 2);
    expect(err).toBe("There are more (2500 in all): --limit COUNT or --all shows them.\n");
    expect(requests.map((request) => request.pageSize)).toEqual([1000, 1000, 200]);
  });

  test("shows all of them", async () => {
    const { out, err } = await runCommand(["list", "c", "--all", "-o", "json"], listHandlers([]));
    expect(err).toBe("");
    const ids = parseLines(out).map((line) => line.taskId);
    expect([ids.length, ids[0], ids.at(-1)]).toEqual([2500, "t0", "t2499"]);
  });

  test("asks for what was asked for", async () => {
    const requests: ListTasksRequest[] = [];
    const args = ["list", "c", "-s", "running,failed", "-s", "PENDING", "-l", "a=1", "-p", "x", "--newest"];
    const { err, out } = await runCommand(args, { listTasks: (request) => keep(requests, request, {}) });
    expect(requests[0]).toMatchObject({
      states: [Running, Failed, Pending],
      labels: { a: "1" },
      idPrefix: "x",
      orderBy: TaskOrder.NEWEST,
      pageSize: 100,
    });
    expect({ out, err }).toEqual({ out: "", err: "There are no such tasks.\n" });
  });

  test("shows progress and what went wrong, escaped and aligned", async () => {
    const tasks = [
      {
        taskId: "a",
        status: taskStatus([Pending, Running], { progress: { current: 1n, total: 4n, message: "x\x1by" }, attempt: 2 }),
      },
      { taskId: "longer\x1b", status: taskStatus([Pending, Failed], { error: { message: "no" } }) },
    ];
    const { out } = await runCommand(["list", "c"], { listTasks: () => ({ tasks }) });
    expect(out.split("\n")).toEqual([
      "TASK        STATE                PROGRESS   CHANGED  NOTE",
      expect.stringMatching(/^a {11}Running \(attempt 2\) {2}1\/4 \(25%\) {2}(now|\d+[smhd]) +x\\x1by$/),
      expect.stringMatching(/^longer\\x1b {2}Failed {26}(now|\d+[smhd]) +no$/),
      "",
    ]);
  });
});
