import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { checkCommand, resolveCommand } from "../../src/runner/resolve-command.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";

describe("a program is found", () => {
  test("in PATH, of which what is not absolute does not count, or by its path", async () => {
    await using scratch = await makeScratchDirectory();
    const bin = join(scratch.path, "bin");
    await mkdir(bin);
    await writeFile(join(bin, "tool"), "", { mode: 0o755 });
    await writeFile(join(bin, "plain"), "");
    await mkdir(join(bin, "folder"));
    await symlink(join(bin, "tool"), join(bin, "link"));
    const PATH = `:.:/nowhere:${bin}`;
    const file = async (program: string, env = { PATH }) => (await resolveCommand({ command: [program] }, env)).file;
    expect(await file("tool")).toBe(join(bin, "tool"));
    expect(await file("link")).toBe(join(bin, "link"));
    expect(await file(join(bin, "tool"))).toBe(join(bin, "tool"));
    // What the configuration sets counts, not what the server has.
    const set = await resolveCommand({ command: ["tool"], env: { PATH: bin } }, { PATH: "/nowhere" });
    expect(set).toMatchObject({ file: join(bin, "tool"), environment: { PATH: bin } });

    await expect(file("plain")).rejects.toThrow(`there is no command "plain" in PATH (${PATH})`);
    await expect(file("folder")).rejects.toThrow('there is no command "folder"');
    await expect(file(join(bin, "plain"))).rejects.toThrow(
      `the command ${join(bin, "plain")} cannot be executed by this user; chmod +x`,
    );
    await expect(file(join(bin, "folder"))).rejects.toThrow("is not a file");
    await expect(file(join(bin, "none"))).rejects.toThrow("is not there");
    await expect(resolveCommand({ command: ["tool"] }, {})).rejects.toThrow("PATH (which is not set)");
  });
});

describe("a command is refused", () => {
  test.each<[string, string[], RegExp]>([
    ["without a program", [""], /must not be empty/],
    ["whose program a task would choose", [`\${metadata.program}`], /must be the same for every task/],
    ["that is a batch file", ["/x/RUN.Bat"], /must not be a .bat or .cmd/],
    ["with an argument that is no placeholder", ["sh", `\${HOME}`], /is no placeholder/],
    ["with a value in a shell's script", ["sh", "-c", `rm \${metadata.path}`], /would be run by it/],
    [
      "with a value in the script of a shell that another program runs",
      ["env", "A=1", "/bin/bash", "-eu", "-ec", `\${metadata.path}`],
      /would be run by it/,
    ],
  ])("%s", async (_, command, message) => {
    await expect(resolveCommand({ command }, { PATH: process.env["PATH"] })).rejects.toThrow(message);
  });

  test("whose directory is not there", async () => {
    const command = { command: ["sh"], cwd: "/nowhere/at/all" };
    await expect(resolveCommand(command, { PATH: process.env["PATH"] })).rejects.toThrow(
      "/nowhere/at/all is not there",
    );
  });

  test.each([
    ["-ce", `echo \${metadata.x}`],
    ["-c", "-e", `echo \${metadata.x}`],
    ["-e", "-c", "--", `echo \${metadata.x}`],
    ["-o", "pipefail", "-c", `echo \${metadata.x}`],
    ["-euo", "pipefail", "-c", `echo \${metadata.x}`],
    ["-c", "-o", "errexit", `echo \${metadata.x}`],
    ["-co", "errexit", `echo \${metadata.x}`],
    ["--norc", "--rcfile", "rc", "+c", `echo \${metadata.x}`],
    [`-\${metadata.options}`, `echo \${metadata.x}`],
    [`--command=echo \${metadata.x}`],
  ])("with a value in the script of sh %j", (...args) => {
    expect(checkCommand(["sh", ...args])).toMatch("would be run by it");
    expect(checkCommand(["sudo", "-u", "bash", "/bin/zsh", ...args])).toMatch("would be run by it");
  });

  test.each([
    ["-ce", 'rm -- "$1"', "sh", `\${metadata.x}`],
    ["-c", "-e", 'rm -- "$1"', "name", "-c", `\${metadata.x}`],
    ["-e", "script.sh", "-c", `\${metadata.x}`],
    ["-o", "noclobber", "script.sh", "-c", `\${metadata.x}`],
    ["--", "-c", `\${metadata.x}`],
  ])("not with a value behind the script of sh %j", (...args) => {
    expect(checkCommand(["/bin/dash", ...args])).toBeUndefined();
  });

  test("not if a shell's script has the value as an argument of its own", () => {
    expect(checkCommand(["sh", "-c", 'rm -- "$1"', "sh", `\${metadata.path}`])).toBeUndefined();
    expect(checkCommand(["gcc", "-c", `\${metadata.path}`])).toBeUndefined();
    expect(checkCommand(["sh", "script.sh", `\${metadata.path}`])).toBeUndefined();
  });
});
