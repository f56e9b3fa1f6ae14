import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, writeSync } from "node:fs";
import { open, realpath } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createLinuxTable, createPsTable, openMark, parseStat } from "../../src/runner/process-table.ts";
import { node, startLeftBehind } from "../support/command-harness.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";

describe.skipIf(process.platform !== "linux")("the table of Linux", () => {
  const table = createLinuxTable();

  test("has every process with its group and its token", async () => {
    await using scratch = await makeScratchDirectory();
    await using left = await startLeftBehind("", { token: "abc", directory: scratch.path, name: "a" });
    const running = await table.list();
    const found = running.find(({ pid }) => pid === left.pid);
    expect(found).toMatchObject({
      groupId: left.pid,
      identity: table.identify(left.pid),
      startedAt: table.startedAt(left.pid),
    });
    expect(await found?.loadToken()).toBe("abc");
    const self = running.find(({ pid }) => pid === process.pid);
    expect(self?.identity).toBe(table.identify(process.pid));
    expect(await self?.loadToken()).toBeUndefined();
  });

  test("has none that has ended and waits for its parent, but knows it", async () => {
    // The child of a process that does not ask for its end.
    const parent = spawn("sh", ["-c", "sleep 0.2 & echo $!; exec sleep 1000"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const [text] = (await once(parent.stdout, "data")) as [Buffer];
    const child = Number(text.toString());
    await expect.poll(async () => (await table.list()).some(({ pid }) => pid === child)).toBe(false);
    expect(table.identify(child)).toContain(`/${child}/`);
    parent.kill("SIGKILL");
    await once(parent, "exit");
  });

  test("knows nothing of a process that is not there", () => {
    expect(table.identify(2 ** 22 + 1)).toBeUndefined();
    expect(table.startedAt(2 ** 22 + 1)).toBe(0);
  });

  test("tells who has a file open", async () => {
    await using scratch = await makeScratchDirectory();
    const path = join(await realpath(scratch.path), "file");
    const file = await open(path, "w");
    expect(await table.holders(path)).toEqual([process.pid]);
    await file.close();
    expect(await table.holders(path)).toEqual([]);
  });

  test("tells who has a file open as a mark, and not who only reads it", async () => {
    await using scratch = await makeScratchDirectory();
    const path = join(await realpath(scratch.path), "file");
    const isMarked = async (): Promise<boolean | undefined> =>
      (await table.list()).find(({ pid }) => pid === process.pid)?.isMarked(new Set([path, "/elsewhere"]));
    await using _ = await open(path, "w+");
    expect(await isMarked()).toBe(false);
    const mark = openMark(path);
    expect(await isMarked()).toBe(true);
    expect(() => writeSync(mark, "a")).toThrow("EBADF");
    closeSync(mark);
    expect(await isMarked()).toBe(false);
  });

  test("is not confused by the name of a program", () => {
    const rest = "S 10 20 30 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 9";
    expect(parseStat(`42 (a) b (c)) ${rest}`)).toEqual({ pid: 42, state: "S", groupId: 20, startTicks: 123_456 });
  });

  test("is asked by many at the price of few", async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, () => table.list()));
    expect(new Set(answers).size).toBeLessThanOrEqual(2);
  });
});

describe("the table of ps", () => {
  test("has every process with its group, under an identity that stays the same", async () => {
    const table = createPsTable();
    const child = spawn(node, ["-e", "setInterval(() => {}, 1000)"], { detached: true, stdio: "ignore" });
    const pid = child.pid as number;
    const found = (await table.list()).find((each) => each.pid === pid);
    expect(found).toMatchObject({ groupId: pid, identity: table.identify(pid) });
    expect(found?.identity).toMatch(new RegExp(`^\\w+ +\\w+ +\\d+ [\\d:]+ \\d+/${pid}$`));
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(table.identify(pid)).toBeUndefined();
  });
});
