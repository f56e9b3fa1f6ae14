import { status as Code } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import { BadRequestSchema, ErrorInfoSchema, ResourceInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { StatusFailure } from "../support/fake-server.ts";
import { runCommand } from "../support/run-command.ts";

describe("errors", () => {
  test("of a server that is not there say how to start one", async () => {
    const { code, err, out } = await runCommand(["controllers", "--server", "127.0.0.1:1"]);
    expect({ code, out }).toEqual({ code: 4, out: "" });
    expect(err).toMatch(
      /^error: no server answers at 127\.0\.0\.1:1 \(connect ECONNREFUSED 127\.0\.0\.1:1\)\nhint: .*stint serve\n/,
    );
  });

  test("name commands as they can be called in this shell", async () => {
    const unreachable = await runCommand(["controllers", "--server", "127.0.0.1:1"], undefined, {
      program: "npx stint",
    });
    expect(unreachable.err).toContain("hint: start one with: npx stint serve\n");
    const unknown = await runCommand(["config", "check"], undefined, { program: "node dist/cli/main.js" });
    expect(unknown.err).toContain(
      "hint: name one: node dist/cli/main.js config check FILE, or STINT_CONFIG in the env",
    );
    const none = await runCommand(["controllers"], { listControllers: () => ({}) }, { program: "npx stint" });
    expect(none.err).toContain(": npx stint serve --config FILE\n");
  });

  test("of a server whose name is not known say so", async () => {
    const { code, err } = await runCommand(["controllers", "--server", "no-such-host.invalid:1"]);
    expect(code).toBe(4);
    expect(err).toMatch(/^error: no server answers at no-such-host\.invalid:1/);
  });

  test("name every bad field", async () => {
    const { code, err } = await runCommand(["launch", "c"], {
      launchTask: () => {
        const fieldViolations = [
          { field: "task_id", description: "is too long" },
          { field: 'labels["\x1b"]', description: "is empty" },
        ];
        throw new StatusFailure(Code.INVALID_ARGUMENT, "bad request", [[BadRequestSchema, { fieldViolations }]]);
      },
    });
    expect(code).toBe(2);
    expect(err).toBe(
      'error: bad request (INVALID_ARGUMENT)\n  - task_id: is too long\n  - labels["\\x1b"]: is empty\n',
    );
  });

  test.each([
    ["task_id: is bad", [["task_id", "is bad"]], "error: task_id: is bad (INVALID_ARGUMENT)\n"],
    [
      "a: x; b: y",
      [
        ["a", "x"],
        ["b", "y"],
      ],
      "error: 2 fields of the request are wrong (INVALID_ARGUMENT)\n  - a: x\n  - b: y\n",
    ],
  ])("do not say a bad field twice: %s", async (message, fields, text) => {
    const fieldViolations = fields.map(([field, description]) => ({ field, description }));
    const { err } = await runCommand(["launch", "c"], {
      launchTask: () => {
        throw new StatusFailure(Code.INVALID_ARGUMENT, message, [[BadRequestSchema, { fieldViolations }]]);
      },
    });
    expect(err).toBe(text);
  });

  test.each([
    ["controller", "hint: stint controllers shows what there is\n"],
    ["task", "hint: stint list c shows the tasks there are\n"],
  ])("of a %s that is not there say where to look", async (resourceType, hint) => {
    const { code, err } = await runCommand(["status", "c", "t"], {
      getTaskStatus: () => {
        throw new StatusFailure(Code.NOT_FOUND, 'not "there"; there are: a, b', [
          [ResourceInfoSchema, { resourceType, resourceName: "c" }],
        ]);
      },
    });
    expect({ code, err }).toEqual({ code: 1, err: `error: not "there"; there are: a, b (NOT_FOUND)\n${hint}` });
  });

  test("carry the server's reason", async () => {
    const { code, err } = await runCommand(["launch", "c", "t", "--if-revision", "1"], {
      launchTask: () => {
        throw new StatusFailure(Code.ABORTED, "it changed", [
          [ErrorInfoSchema, { reason: "CONFLICT", domain: "stint.v1" }],
        ]);
      },
    });
    expect(code).toBe(1);
    expect(err).toContain("error: it changed (ABORTED, CONFLICT)\nhint: stint status c t shows");
  });

  test("of a server that is no Stint server say that", async () => {
    const { code, err } = await runCommand(["status", "c", "t"], {});
    expect(code).toBe(1);
    expect(err).toMatch(/UNIMPLEMENTED\)\nhint: is it a Stint server that listens at 127\.0\.0\.1:\d+\?/);
  });

  test("of a STINT_SERVER that is no address name it", async () => {
    const { code, err } = await runCommand(["controllers"], undefined, { env: { STINT_SERVER: "ftp://x" } });
    expect(code).toBe(2);
    expect(err).toContain('STINT_SERVER is "ftp://x". It must be HOST:PORT');
  });
});
