/** What a server that died has left, found and ended by the next one. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync } from "node:fs";
import { mkdir, open, readdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { type Log, silentLog } from "../../src/log.ts";
import { systemRandom } from "../../src/random.ts";
import { type Commands, openCommands } from "../../src/runner/commands.ts";
import { createProcessTable, createPsTable, openMark } from "../../src/runner/process-table.ts";
import { isRunning, node, numberIn, startLeftBehind } from "../support/command-harness.ts";
import { eventually } from "../support/eventually.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";

const token = "0000-left-behind";
const table = createProcessTable();
const ports = { clock: systemClock, random: systemRandom, log: silentLog };
const leader = (pid: number, identity = table.identify(pid) ?? "") => JSON.stringify({ pid, identity, startedAt: 0 });

/** A directory as a server leaves it that is killed, with these records. */
async function leave(directory: string, records: Record<string, string>): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const [name, text] of Object.entries(records)) await writeFile(join(directory, name), text);
}

function createWarnings(): { log: Log; messages: string[] } {
  const messages: string[] = [];
  return { messages, log: { ...silentLog, warn: (_fields, message) => void messages.push(message) } };
}

async function openAndClose(
  directory: string,
  options: Partial<Parameters<typeof openCommands>[0]> = {},
): Promise<void> {
  const commands: Commands = await openCommands({ directory, ...ports, ...options });
  await commands.close();
}

describe("opening ends", () => {
  test("a command by its token alone, as after a death right after its start", async () => {
    await using scratch = await makeScratchDirectory();
    const directory = join(scratch.path, "commands");
    await using left = await startLeftBehind("", { token, directory: scratch.path, name: "a" });
    await leave(directory, { [token]: "" });
    await openAndClose(directory);
    expect(await isRunning(left.pid)).toBe(false);
    expect(await readdir(directory)).toEqual(["owner"]);
  });

  test("a command by its pid and identity, where its token cannot be seen", async () => {
    await using scratch = await makeScratchDirectory();
    const directory = join(scratch.path, "commands");
    await using left = await startLeftBehind("", { directory: scratch.path, name: "a" });
    await leave(directory, { [token]: leader(left.pid) });
    await openAndClose(directory);
    expect(await isRunning(left.pid)).toBe(false);
  });

  test("a command by its pid and identity where ps has to tell", async () => {
    await using scratch = await makeScratchDirectory();
    const directory = join(scratch.path, "commands");
    await using left = await startLeftBehind("", { token, directory: scratch.path, name: "a" });
    const psTable = createPsTable();
    await leave(directory, { [token]: leader(left.pid, psTable.identify(left.pid)) });
    await openAndClose(directory, { table: psTable });
    expect(await isRunning(left.pid)).toBe(false);
  });

  test("all of a command's group, and what has left it, also when the command itself has ended", async () => {
    await using scratch = await makeScratchDirectory();
    const directory = join(scratch.path, "commands");
    const files = ["in-group", "left-group"].map((name) => join(scratch.path, name));
    const stay = (file = "") =>
      `process.on("SIGTERM", () => {}); require("fs").writeFileSync("${file}", process.pid + "\\n"); setInterval(() => {}, 1000)`;
    const script = `const { spawn } = await import("node:child_process");
      spawn(process.execPath, ["-e", ${JSON.stringify(stay(files[0]))}], { stdio: "ignore" });
      spawn(process.execPath, ["-e", ${JSON.stringify(stay(files[1]))}], { stdio: "ignore", detached: true });`;
    await using left = await startLeftBehind(script, { token, directory: scratch.path, name: "a" });
    const pids = await Promise.all(files.map(numberIn));
    await leave(directory, { [token]: leader(left.pid) });
    process.kill(left.pid, "SIGKILL");
    await left.exited;
    expect(await Promise.all(pids.map(isRunning))).toEqual([true, true]);
    await openAndClose(directory);
    expect(await Promise.all(pids.map(isRunning))).toEqual([false, false]);
  });

  test.skipIf(process.platform !== "linux")("what has only the mark of a command that has ended", async () => {
    await using scratch = await makeScratchDirectory();
    const directory = join(scratch.path, "commands");
    await leave(directory, { [token]: leader(2 ** 22 + 1, "boot/gone/1") });
    const mark = openMark(join(directory, token));
    // It has left its group, and has none of the environment.
    const marked = spawn("sleep", ["1000"], { detached: true, env: {}, stdio: ["ignore", "ignore", "ignore", mark] });
    closeSync(mark);
    const exited = once(marked, "exit");
    const other = spawn("sleep", ["1000"], { detached: true, env: {}, stdio: "ignore" });
    await openAndClose(directory);
    expect(await exited).toEqual([null, "SIGKILL"]);
    expect(await isRunning(other.pid as number)).toBe(true);
    other.kill("SIGKILL");
  });

  test("nothing that only has the pid of one", async () => {
    await using scratch = await makeScratchDirectory();
    const directory = join(scratch.path, "commands");
    await using other = await startLeftBehind("", { token: "another-token", directory: scratch.path, name: "a" });
    await leave(directory, { [token]: leader(other.pid, `another-boot/${other.pid}/1`), "a.b": "no record" });
    await openAndClose(directory);
    expect(await isRunning(other.pid)).toBe(true);
    expect((await readdir(directory)).sort()).toEqual(["a.b", "owner"]);
  });

  test("nothing of which it is not sure, and says so", async () => {
    await using scratch = await makeScratchDirectory();
    const directory = join(scratch.path, "commands");
    const file = join(scratch.path, "member");
    // A member of the group without the token, whose leader has ended.
    const stay = `require("fs").writeFileSync("${file}", process.pid + "\\n"); setInterval(() => {}, 1000)`;
    const script = `(await import("node:child_process")).spawn(process.execPath, ["-e", ${JSON.stringify(stay)}], { stdio: "ignore", env: {} });`;
    await using left = await startLeftBehind(script, { token, directory: scratch.path, name: "a" });
    const member = await numberIn(file);
    await leave(directory, { [token]: leader(left.pid) });
    process.kill(left.pid, "SIGKILL");
    await left.exited;
    const { log, messages } = createWarnings();
    await openAndClose(directory, { log });
    expect(await isRunning(member)).toBe(true);
    expect(messages).toEqual([expect.stringMatching(/a process that died .*that is not sure/)]);
    process.kill(member, "SIGKILL");
  });

  test("nothing of a server that runs, whose directory was copied", async () => {
    await using scratch = await makeScratchDirectory();
    const directory = join(scratch.path, "commands");
    await using server = await startLeftBehind("", { directory: scratch.path, name: "server" });
    await using command = await startLeftBehind("", { token, directory: scratch.path, name: "a" });
    await leave(directory, { [token]: leader(command.pid), owner: leader(server.pid) });
    const { log, messages } = createWarnings();
    await openAndClose(directory, { log });
    expect(await isRunning(command.pid)).toBe(true);
    expect(messages).toEqual([expect.stringContaining("those of a server that runs")]);
    expect(await readdir(directory)).toEqual(["owner"]);
  });
});

describe("opening a directory alone", () => {
  test("fails while another process has it open, and changes nothing", async () => {
    await using scratch = await makeScratchDirectory();
    const directory = join(scratch.path, "commands");
    await using owner = await startLeftBehind("", { directory: scratch.path, name: "owner" });
    await using command = await startLeftBehind("", { token, directory: scratch.path, name: "a" });
    await leave(directory, { [token]: leader(command.pid), owner: leader(owner.pid) });
    const opening = openAndClose(directory, { isExclusive: true });
    await expect(opening).rejects.toThrow(`those of another process that runs, ${owner.pid}`);
    expect((await readdir(directory)).sort()).toEqual([token, "owner"].sort());
    process.kill(owner.pid, "SIGKILL");
    await owner.exited;
    await openAndClose(directory, { isExclusive: true });
    expect(await isRunning(command.pid)).toBe(false);
  });

  test("is not kept off by one that was killed and whose parent has not been told", async () => {
    await using scratch = await makeScratchDirectory();
    const directory = join(scratch.path, "commands");
    // The child of a process that does not ask for its end.
    const parent = spawn("sh", ["-c", "sleep 1000 & echo $!; exec sleep 1000"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    try {
      const [text] = (await once(parent.stdout, "data")) as [Buffer];
      const killed = Number(text.toString());
      await leave(directory, { owner: leader(killed) });
      await expect(openAndClose(directory, { isExclusive: true })).rejects.toThrow("another process that runs");
      process.kill(killed, "SIGKILL");
      await expect.poll(() => isRunning(killed)).toBe(false);
      // Else this would show nothing.
      expect(table.identify(killed)).toContain(`${killed}`);
      await openAndClose(directory, { isExclusive: true });
    } finally {
      parent.kill("SIGKILL");
    }
  });
});

describe("opening waits for", () => {
  test.skipIf(process.platform !== "linux")("a process that was forked and is not a command yet", async () => {
    await using scratch = await makeScratchDirectory();
    const directory = join(scratch.path, "commands");
    await leave(directory, { [token]: "", owner: "" });
    const owner = await open(join(directory, "owner"), "r");
    // It has the dead server's files, and no token.
    const forked = spawn(node, ["-e", "setInterval(() => {}, 1000)"], {
      detached: true,
      stdio: ["ignore", "ignore", "ignore", owner.fd],
    });
    await owner.close();
    const exited = once(forked, "exit");
    await expect(openCommands({ directory, ...ports, endMaxMs: 100 })).rejects.toThrow(`open: ${forked.pid}`);
    let isOpen = false;
    const opening = openCommands({ directory, ...ports }).then((commands) => {
      isOpen = true;
      return commands;
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(isOpen).toBe(false);
    forked.kill("SIGKILL");
    await exited;
    await (await opening).close();
  });

  test("what does not end, and gives up with its pid", async () => {
    await using scratch = await makeScratchDirectory();
    const directory = join(scratch.path, "commands");
    await using left = await startLeftBehind("", { token, directory: scratch.path, name: "a" });
    await leave(directory, { [token]: "" });
    // Nobody is ended whose identity is another's a moment later: this one is never.
    const stubborn = { ...table, identify: (pid: number) => (pid === left.pid ? "another" : table.identify(pid)) };
    await expect(openCommands({ directory, ...ports, table: stubborn, endMaxMs: 50 })).rejects.toThrow(
      `do not end: ${left.pid}`,
    );
    expect(await readdir(directory)).toContain(token);
  });
});

test("kill ends the commands that run, and nothing of those that have ended", async () => {
  await using scratch = await makeScratchDirectory();
  await using running = await startLeftBehind("", { directory: scratch.path, name: "running" });
  await using ended = await startLeftBehind("", { directory: scratch.path, name: "ended" });
  const commands = await openCommands(ports);
  const [first, second] = await Promise.all([1, 2].map(() => commands.begin(new AbortController().signal)));
  first?.spawn(() => running.child);
  second?.spawn(() => ended.child);
  await second?.end();
  commands.kill();
  await running.exited;
  expect(await isRunning(ended.pid)).toBe(true);
  await first?.end();
  await commands.close();
});

describe("a record", () => {
  test("is there before the start, names the process after it, and is gone after the end", async () => {
    await using scratch = await makeScratchDirectory();
    const commands = await openCommands({ directory: scratch.path, ...ports });
    const record = await commands.begin(new AbortController().signal);
    expect((await readdir(scratch.path)).sort()).toEqual([record.token, "owner"].sort());
    record.spawn(() => ({ pid: process.pid }) as ChildProcess);
    let isClosed = false;
    const closing = commands.close().then(() => (isClosed = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(isClosed).toBe(false);
    await record.end();
    await closing;
    expect(await readdir(scratch.path)).toEqual(["owner"]);
  });

  test("that cannot be written is waited for", async () => {
    await using scratch = await makeScratchDirectory();
    const directory = join(scratch.path, "commands");
    const clock = createFakeClock();
    const { log, messages } = createWarnings();
    const commands = await openCommands({ directory, ...ports, clock, log });
    await rename(directory, join(scratch.path, "elsewhere"));
    const beginning = commands.begin(new AbortController().signal);
    await eventually(() => {
      expect(messages).toEqual([expect.stringContaining("cannot be recorded, and waits")]);
      expect(clock.pending()).toBe(1);
    });
    await rename(join(scratch.path, "elsewhere"), directory);
    await clock.advance(1_000);
    await (await beginning).end();
    await commands.close();
  });

  test("that cannot be written is given up when its task is to stop", async () => {
    await using scratch = await makeScratchDirectory();
    const directory = join(scratch.path, "commands");
    const { log, messages } = createWarnings();
    const commands = await openCommands({ directory, ...ports, random: { ...systemRandom, id: () => "no/such" }, log });
    const aborting = new AbortController();
    const beginning = commands.begin(aborting.signal);
    await eventually(() => expect(messages).toEqual([expect.stringContaining("cannot be recorded")]));
    aborting.abort(new Error("stop"));
    await expect(beginning).rejects.toThrow("stop");
    await commands.close();
  });

  test("is kept nowhere where there is no directory", async () => {
    const commands = await openCommands(ports);
    const record = await commands.begin(new AbortController().signal);
    record.spawn(() => ({ pid: process.pid }) as ChildProcess);
    await record.end();
    await commands.close();
  });
});
