/** Real commands that are stopped, and what they have started. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { AbortKind } from "../../src/task/abort.ts";
import { isRunning, numberIn, openCommandHarness } from "../support/command-harness.ts";

/** As a child of a command: says who it is in a file, and stays. */
const stays = (pidFile: string, before = ""): string =>
  `${before}; require("fs").writeFileSync(${JSON.stringify(pidFile)}, process.pid + "\\n"); setInterval(() => {}, 1000);`;
const ignoresTerm = `process.on("SIGTERM", () => {})`;
/** A script that starts a child, in its group unless `detached`. */
const forks = (script: string, options = "{ stdio: 'ignore' }"): string =>
  `require("child_process").spawn(process.execPath, ["-e", ${JSON.stringify(script)}], ${options});`;

describe("a command that is told to stop", () => {
  test.each<[string, AbortKind]>([
    ["a cancel", "CANCEL"],
    ["the server's stop", "SHUTDOWN"],
    ["a timeout", "TIMEOUT"],
    ["a launch anew", "RESTART"],
    ["a lost fence", "LOST_FENCE"],
  ])("by %s gets SIGTERM, and its task what that means", async (_, kind) => {
    await using h = await openCommandHarness();
    const run = h.run("console.log('up'); setInterval(() => {}, 1000)");
    await run.said("up");
    run.stop(kind);
    expect(await run.failure()).toBe(run.signal.reason);
  });

  test("and exits with 0 and a result has completed its task", async () => {
    await using h = await openCommandHarness();
    const run = h.run(
      "process.on('SIGTERM', () => { console.log('::result \"saved\"'); process.exit(0); }); console.log('up'); setInterval(() => {}, 1000)",
    );
    await run.said("up");
    run.stop();
    expect(await run.ended).toBe("saved");
  });

  test.each([
    ["with 0 and no result", "process.exit(0)"],
    ["with a result and another code", "console.log('::result 1'); process.exit(1)"],
    ["with an error that it names", "console.log('::error half done'); process.exit(1)"],
  ])("and exits %s has stopped", async (_, script) => {
    await using h = await openCommandHarness();
    const run = h.run(`process.on('SIGTERM', () => { ${script} }); console.log('up'); setInterval(() => {}, 1000)`);
    await run.said("up");
    run.stop();
    expect(await run.failure()).toBe(run.signal.reason);
    if (script.includes("::error")) expect(run.logs).toContainEqual([8, "half done"]);
  });

  test("and does not gets SIGKILL, with all of its group", async () => {
    await using h = await openCommandHarness();
    const pids = ["one", "two"].map((name) => join(h.directory, name));
    const [one = "", two = ""] = pids;
    // The second is a child of the first: the command's grandchild.
    const child = stays(one, `${ignoresTerm}; ${forks(stays(two, ignoresTerm))}`);
    const run = h.run(`${ignoresTerm}; ${forks(child)} console.log("up"); setInterval(() => {}, 1000)`, {
      stopMs: 100,
    });
    await run.said("up");
    const running = await Promise.all(pids.map(numberIn));
    run.stop();
    expect(await run.failure()).toBe(run.signal.reason);
    expect(await Promise.all(running.map(isRunning))).toEqual([false, false]);
  });

  test("takes with it those in its group that do not stop when it does", async () => {
    await using h = await openCommandHarness();
    const child = join(h.directory, "child");
    const run = h.run(`${forks(stays(child, ignoresTerm))} console.log("up"); setInterval(() => {}, 1000)`, {
      stopMs: 100,
    });
    await run.said("up");
    const pid = await numberIn(child);
    run.stop();
    await run.failure();
    expect(await isRunning(pid)).toBe(false);
  });

  test("takes with it also those that have left its group", async () => {
    await using h = await openCommandHarness();
    const child = join(h.directory, "child");
    const run = h.run(
      `${forks(stays(child, ignoresTerm), "{ stdio: 'ignore', detached: true }")} console.log("up"); setInterval(() => {}, 1000)`,
    );
    await run.said("up");
    const pid = await numberIn(child);
    run.stop();
    await run.failure();
    expect(await isRunning(pid)).toBe(false);
  });

  test("before it is started is not started", async () => {
    await using h = await openCommandHarness();
    const run = h.run("console.log('up')");
    run.stop();
    expect(await run.failure()).toBe(run.signal.reason);
    expect(run.logs).toEqual([]);
  });

  test("while its output is not taken stops all the same", async () => {
    await using h = await openCommandHarness();
    let release = (): void => {};
    const released = new Promise<void>((resolve) => (release = resolve));
    const run = h.run("for (;;) require('fs').writeSync(1, 'x'.repeat(1000) + '\\n')", { onEntry: () => released });
    await run.said("x".repeat(1000));
    run.stop();
    release();
    expect(await run.failure()).toBe(run.signal.reason);
  });
});

describe("what a command leaves behind when it exits", () => {
  test("is ended, if it is in its group", async () => {
    await using h = await openCommandHarness();
    const child = join(h.directory, "child");
    const wait = `const until = () => require("fs").existsSync(${JSON.stringify(child)}) ? process.exit(0) : setTimeout(until, 5); until();`;
    await h.run(`${forks(stays(child, ignoresTerm))} ${wait}`).ended;
    expect(await isRunning(await numberIn(child))).toBe(false);
  });

  test("may be a daemon that has left the group; its output is not waited for", async () => {
    await using h = await openCommandHarness();
    const child = join(h.directory, "child");
    const wait = `const until = () => require("fs").existsSync(${JSON.stringify(child)}) ? process.exit(0) : setTimeout(until, 5); until();`;
    const run = h.run(
      `${forks(stays(child), "{ stdio: ['ignore', 'inherit', 'inherit'], detached: true }")} console.log("::result 1"); ${wait}`,
    );
    expect(await run.ended).toBe(1);
    const pid = await numberIn(child);
    expect(await isRunning(pid)).toBe(true);
    process.kill(pid, "SIGKILL");
  });

  test("is no record", async () => {
    await using h = await openCommandHarness();
    const records = (): Promise<string[]> => readdir(join(h.directory, "commands"));
    const run = h.run("console.log('up'); process.stdin.resume()", { metadata: {} });
    await run.said("up");
    expect((await records()).length).toBeLessThanOrEqual(2);
    await run.ended;
    expect(await records()).toEqual(["owner"]);
  });
});

test("40 commands at a time are each stopped, with all they have started", async () => {
  await using h = await openCommandHarness();
  const runs = Array.from({ length: 40 }, (_, index) => {
    const child = join(h.directory, `child-${index}`);
    const run = h.run(
      [
        "sh",
        "-c",
        `(trap "" TERM; echo $$ >/dev/null; sh -c 'echo $$ >"$1"; sleep 1000' sh "$1") & echo up; wait`,
        "sh",
        child,
      ],
      { stopMs: 300 },
    );
    return { run, child };
  });
  await Promise.all(runs.map(({ run }) => run.said("up")));
  const pids = await Promise.all(runs.map(({ child }) => numberIn(child)));
  for (const { run } of runs) run.stop();
  for (const { run } of runs) expect(await run.failure()).toBe(run.signal.reason);
  expect((await Promise.all(pids.map(isRunning))).filter(Boolean)).toEqual([]);
});
