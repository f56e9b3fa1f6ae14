import { readFile } from "node:fs/promises";
import { status } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { TaskState } from "#gen/core/v1/core_pb.js";
import { exitCode, exitCodeOfRpc, exitCodeOfState } from "../../src/cli/exit-code.ts";
import { Interrupted } from "../../src/cli/io.ts";
import { runCommand } from "./support/run-command.ts";

test.each([
  [TaskState.Completed, 0],
  [TaskState.Failed, 1],
  [TaskState.Canceled, 3],
  [TaskState.Unknown, 1],
  [TaskState.Running, 1],
])("a watch that ends in state %d exits with %d", (state, code) => {
  expect(exitCodeOfState(state)).toBe(code);
});

test.each([
  [status.INVALID_ARGUMENT, 2],
  [status.UNAVAILABLE, 4],
  [status.DEADLINE_EXCEEDED, 4],
  [status.NOT_FOUND, 1],
  [status.ALREADY_EXISTS, 1],
  [status.INTERNAL, 1],
])("a call that fails with code %d exits with %d", (code, exit) => {
  expect(exitCodeOfRpc(code)).toBe(exit);
});

test("--help and the table in docs/operating.md have every exit status", async () => {
  const interrupted = (["SIGINT", "SIGTERM"] as const).map((name) => new Interrupted(name).exitCode);
  const { out } = await runCommand(["--help"]);
  const [, help = ""] = /Exit status: ([^]*)/.exec(out) ?? [];
  const docs = await readFile(new URL("../../docs/operating.md", import.meta.url), "utf8");
  const [, table = ""] = /The exit status:\n([^]*?)\n\n\*\*/.exec(docs) ?? [];
  const [, serve = ""] = /^Exit codes of `serve`: (.*)/m.exec(docs) ?? [];
  for (const code of [...Object.values(exitCode), ...interrupted]) {
    expect(help).toMatch(new RegExp(`\\b${code}\\b`));
    expect(table + serve).toMatch(new RegExp(`\\b${code}\\b`));
  }
});
