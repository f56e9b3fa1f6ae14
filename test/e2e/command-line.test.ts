/** The commands against a server, each in a process of its own. Needs dist/ (npm run build). */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { repositoryRoot } from "../support/served-process.ts";
import { runCommand, serveProgram } from "../support/served-program.ts";

test("the build can be executed as it is, as the links that npm makes to it do", async () => {
  const { stdout } = await promisify(execFile)(join(repositoryRoot, "dist/cli/main.js"), ["version"]);
  expect(stdout).toMatch(/^stint \d/);
});

test("a watch goes on when its server was killed and started again, and each line is there once", {
  timeout: 120_000,
}, async () => {
  await using scratch = await makeScratchDirectory();
  const first = await serveProgram(scratch.path);
  const { port } = first;
  const metadata = JSON.stringify({ limit: 60, intervalMs: 30 });
  const watch = runCommand(port, "launch", "steps", "a", "--metadata", metadata, "--watch");
  await eventually(
    () => expect(watch.stdout.filter((line) => / [3-9]\/60/.test(line)).length).toBeGreaterThan(1),
    30_000,
  );
  await first[Symbol.asyncDispose]();
  await eventually(() => expect(watch.stderr.join()).toContain(`Lost the connection to 127.0.0.1:${port}`), 30_000);
  await using _second = await serveProgram(scratch.path, { port });
  expect(await watch.ended).toBe(0);
  expect(watch.stderr.at(-1)).toBe("Connected again.");
  expect(watch.stdout[0]).toMatch(/^Launched steps\/a \(run /);
  const events = watch.stdout.slice(1);
  expect(new Set(events).size).toBe(events.length);
  const states = events.map((line) => / steps\/a ([A-Z]\w+)/.exec(line)?.[1]).filter(Boolean);
  expect(states.slice(-4)).toEqual(["Running", "Pending", "Running", "Completed"]);
  const steps = events.flatMap((line) => / (\d+)\/60/.exec(line)?.[1] ?? []).map(Number);
  expect(steps).toEqual([...steps].sort((a, b) => a - b));
  expect(steps.at(-1)).toBe(60);
});

test("logs --follow prints each entry once, over a server that was killed and started again", {
  timeout: 120_000,
}, async () => {
  await using scratch = await makeScratchDirectory();
  const first = await serveProgram(scratch.path);
  const { port } = first;
  const metadata = JSON.stringify({ limit: 60, intervalMs: 30 });
  expect(await runCommand(port, "launch", "steps", "a", "--metadata", metadata).ended).toBe(0);
  const follow = runCommand(port, "logs", "steps", "a", "--follow");
  await eventually(() => expect(follow.stdout.length).toBeGreaterThan(5), 30_000);
  await first[Symbol.asyncDispose]();
  await eventually(() => expect(follow.stderr.join()).toContain(`Lost the connection to 127.0.0.1:${port}`), 30_000);
  await using _second = await serveProgram(scratch.path, { port });
  expect(await follow.ended).toBe(0);
  expect(follow.stderr.at(-1)).toBe("Connected again.");
  const listed = runCommand(port, "logs", "steps", "a");
  expect(await listed.ended).toBe(0);
  expect(follow.stdout).toEqual(listed.stdout);
  expect(listed.stdout.at(-1)).toContain("INFO step 60");
});

test("the exit status tells how a task ended, and what went wrong", { timeout: 120_000 }, async () => {
  await using scratch = await makeScratchDirectory();
  await using served = await serveProgram(scratch.path);
  const run = async (...args: string[]) => {
    const command = runCommand(served.port, ...args);
    return { code: await command.ended, ...command };
  };
  const fails = JSON.stringify({ failAt: 1 });
  const [failed, endless] = await Promise.all([
    run("launch", "steps", "bad", "--metadata", fails, "--watch"),
    run("launch", "steps", "long", "--metadata", JSON.stringify({ limit: 1e6 })),
  ]);
  expect([failed.code, endless.code]).toEqual([1, 0]);
  expect(failed.stdout.at(-1)).toContain("failed at step 1 (RUNNER_ERROR)");
  const watching = run("watch", "steps", "long");
  expect((await run("cancel", "steps", "long", "--wait", "10s")).code).toBe(0);
  expect((await watching).code).toBe(3);

  const [invalid, absent, usage] = await Promise.all([
    run("status", "NOT-A-NAME", "a"),
    run("status", "steps", "absent"),
    run("status", "steps"),
  ]);
  expect([invalid.code, absent.code, usage.code]).toEqual([2, 1, 2]);
  served.kill("SIGKILL");
  await served.exited;
  const gone = await run("status", "steps", "a");
  expect(gone.code).toBe(4);
  expect(gone.stderr.join("\n")).toMatch(
    /no server answers at 127\.0\.0\.1:\d+ [^]*start one with: node dist\/cli\/main\.js serve/,
  );
});
