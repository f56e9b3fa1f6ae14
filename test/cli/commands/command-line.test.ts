import { describe, expect, test } from "vitest";
import { runCommand } from "../support/run-command.ts";

describe("the command line", () => {
  test.each([
    [[]],
    [["nope"]],
    [["help", "nope"]],
    [["help", "config", "nope"]],
    [["launch"]],
    [["launch", "c", "t", "extra"]],
    [["launch", "c", "-m", "{"]],
    [["launch", "c", "-m", "{}", "-f", "-"]],
    [["launch", "c", "--if-active", "explode"]],
    [["watch"]],
    [["watch", "c", "--logs"]],
    [["watch", "c", "--wait-for-launch"]],
    [["watch", "c", "--run-id", "r"]],
    [["logs", "c"]],
    [["delete", "c"]],
    [["delete", "c", "t", "--if-revision", "new"]],
    [["config"]],
    [["config", "check", "a", "b"]],
    [["completion"]],
    [["list", "c", "--limit", "0"]],
    [["list", "c", "--limit", "1", "--all"]],
    [["list", "c", "--state", "done"]],
    [["status", "c", "t", "-o", "yaml"]],
    [["cancel", "c", "t", "--wait", "10"]],
    [["serve", "--log-level", "loud"]],
    [["work", "--", "true"]],
    [["work", "--controller", "c"]],
    [["work", "--controller", "C", "--", "true"]],
    [["work", "--controller", "c", "--capacity", "0", "--", "true"]],
    [["work", "--controller", "c", "--", "no-such-command"]],
    [["work", "--controller", "c", "--", "sh", "-c", `echo \${metadata.x}`]],
  ])("%j is a mistake: exit status 2, and nothing on stdout", async (args) => {
    const { code, out, err } = await runCommand(args);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).not.toBe("");
  });

  test.each([
    "serve",
    "launch",
    "status",
    "list",
    "watch",
    "logs",
    "cancel",
    "delete",
    "controllers",
    "work",
    "config",
    "config check",
    "version",
    "completion",
    "help",
  ])("stint %s --help shows an example that begins with the command", async (command) => {
    const { code, out, err } = await runCommand([...command.split(" "), "--help"]);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(out).toMatch(new RegExp(`\\nExamples?:\\n  stint ${command} `));
    for (const line of out.split("\n").filter((text) => !text.startsWith("  stint ")))
      expect(line.length).toBeLessThanOrEqual(80);
  });

  test.each([[["nope"]], [["help", "nope"]]])("%j names the commands there are", async (args) => {
    const { err } = await runCommand(args);
    expect(err).toMatch(/^error: unknown command 'nope'\n\(the commands are serve, launch, .*, completion, help; /);
  });

  test.each([["launch"], ["config", "check"]])("help shows what --help shows: %s %s", async (...words) => {
    const command = words.filter((word) => word !== undefined);
    expect(await runCommand(["help", ...command])).toEqual(await runCommand([...command, "--help"]));
  });

  test("--version prints the version", async () => {
    expect(await runCommand(["--version"])).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) as unknown,
    });
  });
});
