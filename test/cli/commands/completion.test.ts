import { status as Code } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import type { ListTasksRequest } from "#gen/stint/v1/controller_pb.js";
import { type FakeHandlers, openFakeServer, StatusFailure } from "../support/fake-server.ts";
import { keep, runCommand } from "../support/run-command.ts";

const commands =
  "serve launch status list watch logs cancel delete controllers work store config version completion help";

async function complete(words: string[], handlers?: FakeHandlers): Promise<string> {
  const { code, out, err } = await runCommand(["__complete", "--", ...words], handlers ?? {});
  expect({ code, err }).toEqual({ code: 0, err: "" });
  return out.trimEnd().split("\n").join(" ");
}

describe("completion", () => {
  test.each<[string[], string]>([
    [[""], commands],
    [["l"], "launch list logs"],
    [["nope", ""], ""],
    [["help", "co"], "controllers config completion"],
    [["config", ""], "check"],
    [["config", "check", "--o"], "--output"],
    [["completion", ""], "bash zsh fish"],
    [["list", "c", "--st"], "--state"],
    [["logs", "-"], "--follow --min-level --after --limit --output --server --ca --help"],
    [["logs", "-o", ""], "text json"],
    [["logs", "c", "--output", "j"], "json"],
    [["logs", "c", "--output=j"], "--output=json"],
    [["list", "c", "--state", ""], "pending running completed failed canceled unknown"],
    [["list", "c", "-s", "r"], "running"],
    [["logs", "--min-level=w"], "--min-level=warn"],
    [["serve", "--log-level", ""], "debug info warn error"],
    [["launch", "--if-active", "f"], "fail"],
    [["launch", "--metadata-file", ""], ""],
    [["serve", "--config", ""], ""],
    [["serve", "x", ""], ""],
    [["work", "--d"], "--drain --data-dir"],
    [["work", "--controller", "c", "--", "ls", "-"], ""],
    [["work", "--controller", "c", "--", ""], ""],
  ])("of %j", async (words, candidates) => {
    expect(await complete(words)).toBe(candidates);
  });

  test("asks the server for controllers", async () => {
    const handlers = { listControllers: () => ({ controllers: [{ name: "countdown" }, { name: "checksum" }] }) };
    expect(await complete(["logs", "-f", ""], handlers)).toBe("countdown checksum");
    expect(await complete(["logs", "-f", "co"], handlers)).toBe("countdown");
    expect(await complete(["work", "--controller", "ch"], handlers)).toBe("checksum");
  });

  test("asks the server for tasks that begin so, also behind the values of options", async () => {
    const requests: ListTasksRequest[] = [];
    const handlers: FakeHandlers = {
      listTasks: (request) => keep(requests, request, { tasks: [{ taskId: "a:1" }, { taskId: "a:2" }] }),
    };
    expect(await complete(["logs", "-n", "5", "countdown", "a:"], handlers)).toBe("a:1 a:2");
    expect(requests).toMatchObject([{ controller: "countdown", idPrefix: "a:" }]);
  });

  test("asks the server that --server names", async () => {
    await using server = await openFakeServer({ listControllers: () => ({ controllers: [{ name: "there" }] }) });
    expect(await complete(["status", "--server", server.address, ""])).toBe("there");
    expect(await complete(["status", `--server=${server.address}`, ""])).toBe("there");
  });

  test("hands no shell what may not be a word to it", async () => {
    const controllers = ["$(reboot)", "a b", "`x`", "*", "\x1b[2J", "good"].map((name) => ({ name }));
    expect(await complete(["status", ""], { listControllers: () => ({ controllers }) })).toBe("good");
  });

  test.each([
    ["a server that is not there", ["status", "--server", "127.0.0.1:1", ""]],
    ["no address", ["status", "--server", "ftp://x", ""]],
    ["an error", ["status", "unknown", ""]],
  ])("is quiet about %s", async (_what, words) => {
    const fail = (): never => {
      throw new StatusFailure(Code.NOT_FOUND, "no such controller");
    };
    expect(await complete(words, { listTasks: fail })).toBe("");
  });

  test("is not shown as a command of its own", async () => {
    expect((await runCommand(["--help"])).out).not.toContain("__complete");
  });

  test.each(["bash", "zsh", "fish"])("has a script for %s", async (shell) => {
    const { code, out, err } = await runCommand(["completion", shell]);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(out).toContain("__complete -- ");
  });

  test("has none for another shell", async () => {
    expect(await runCommand(["completion", "tcsh"])).toMatchObject({ code: 2, out: "" });
  });
});
