import { status as Code } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import { ResourceInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { StatusFailure } from "../support/fake-server.ts";
import { Failed, Pending, taskStatus } from "../support/fake-task.ts";
import { runCommand } from "../support/run-command.ts";

describe("stint status", () => {
  test("shows the task as it was, with as many log entries as asked for", async () => {
    const answer = await runCommand(["status", "c", "t", "--revision", "3", "--logs", "5"], {
      getTaskStatus: (request) => {
        expect(request).toMatchObject({ controller: "c", taskId: "t", revision: 3n, logLimit: 5 });
        return { status: taskStatus([Pending, Failed]), revision: 3n };
      },
    });
    expect(answer).toMatchObject({ code: 0, err: "" });
    expect(answer.out).toContain("c/t\n  State     Failed\n");
  });

  test("says of a task that was not there at the revision when that was", async () => {
    const getTaskStatus = () => {
      const resource = { resourceType: "task", resourceName: "c/t" };
      throw new StatusFailure(Code.NOT_FOUND, 'the controller "c" has no task "t"', [[ResourceInfoSchema, resource]]);
    };
    const { code, err } = await runCommand(["status", "c", "t", "--revision", "1"], { getTaskStatus });
    expect({ code, err }).toEqual({
      code: 1,
      err:
        'error: the controller "c" has no task "t" at revision 1 (NOT_FOUND)\n' +
        "hint: stint status c t shows the task as it is now\n",
    });
    const now = await runCommand(["status", "c", "t"], { getTaskStatus });
    expect(now.err).toContain('has no task "t" (NOT_FOUND)\nhint: stint list c shows');
  });

  test("prints JSON that no terminal obeys, and that means the same", async () => {
    const status = taskStatus([Pending], { owner: "a\u202eb\x9b", progress: { message: "日本" } });
    const { out } = await runCommand(["status", "c", "t", "-o", "json"], {
      getTaskStatus: () => ({ status, revision: 3n }),
    });
    expect(out).toContain('"owner":"a\\u202eb\\u009b"');
    expect(out).toContain("日本");
    expect(JSON.parse(out)).toMatchObject({ status: { owner: "a\u202eb\x9b" } });
  });

  test("prints JSON", async () => {
    const { out } = await runCommand(["status", "c", "t", "-o", "json"], {
      getTaskStatus: () => ({ status: taskStatus([Pending]), revision: 3n }),
    });
    expect(JSON.parse(out)).toMatchObject({ revision: "3", status: { state: "Pending" } });
  });
});
