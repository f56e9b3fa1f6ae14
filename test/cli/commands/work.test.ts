/** stint work in this process, against a fake server: real commands, by the exec protocol. */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { AbortReason, type PhaseEnd, RunPhase } from "#gen/stint/v1/runner_pb.js";
import { Interrupted } from "../../../src/cli/io.ts";
import { runProgram } from "../../../src/cli/program.ts";
import { createProcessTable } from "../../../src/runner/process-table.ts";
import { startServer } from "../../../src/server/start-server.ts";
import { eventually } from "../../support/eventually.ts";
import {
  type FakeRunnerServer,
  type FakeRunnerStream,
  openFakeRunnerServer,
} from "../../support/fake-runner-server.ts";
import { makeScratchDirectory } from "../../support/scratch-directory.ts";
import { createFakeIo } from "../support/fake-io.ts";

const { PENDING, RUNNING } = RunPhase;
const maxMs = 30_000;

interface Work extends AsyncDisposable {
  readonly io: ReturnType<typeof createFakeIo>;
  readonly code: Promise<number>;
}

function startWork(
  server: FakeRunnerServer,
  script: string,
  options: readonly string[] = [],
  args: string[] = [],
): Work {
  const path = process.env["PATH"] ?? "";
  const io = createFakeIo({
    env: { STINT_SERVER: server.address, PATH: path, GREETING: "hello", STINT_TASK_ID: "no" },
  });
  const command = ["work", "--controller", "steps", ...options, "--", "sh", "-c", script, "sh", ...args];
  const code = runProgram(command, io);
  return {
    io,
    code,
    async [Symbol.asyncDispose]() {
      io.interrupt(new Interrupted("SIGTERM"));
      await code;
    },
  };
}

async function begin(stream: FakeRunnerStream, fence: bigint): Promise<void> {
  stream.offer(fence, PENDING);
  await stream.ended(fence, PENDING, maxMs);
  stream.offer(fence, RUNNING);
  await eventually(() => expect(stream.of("write").map((write) => write.fence)).toContain(fence), maxMs);
}

function errorOf({ outcome }: PhaseEnd) {
  return outcome.case === "failed" ? outcome.value.error : undefined;
}

describe("stint work", { timeout: 60_000 }, () => {
  test("runs the command for a task by the exec protocol, with its environment and arguments", async () => {
    await using server = await openFakeRunnerServer();
    const script = [
      'echo "$GREETING $STINT_TASK_ID $STINT_CONTROLLER $STINT_ATTEMPT $STINT_FENCE $STINT_PROGRESS $1"',
      'echo "::progress 3/4 nearly"',
      'printf "::result "; cat',
    ].join("\n");
    await using work = startWork(server, script, ["--capacity", "3", "--name", "me"], [`\${metadata.to}`]);
    const stream = await server.stream(0, maxMs);
    expect(stream.hello).toMatchObject({ controller: "steps", runner: "me", capacity: 3, wantsCompleted: false });
    const end = await stream.run(5n, { metadata: '{"to": "you"}', progress: { current: 1n, total: 4n } });
    expect(end.outcome).toMatchObject({ case: "done", value: { result: '{"to": "you"}' } });
    const writes = stream.of("write");
    expect(writes.flatMap(({ entries }) => entries.map(({ msg }) => msg))).toEqual(["hello t5 steps 1 5 1/4 you"]);
    expect(writes.flatMap(({ progress }) => progress ?? [])).toMatchObject([{ current: 3n, message: "nearly" }]);
    const failure = errorOf(await stream.run(6n, { metadata: "{}" }));
    expect(failure).toMatchObject({
      reason: "RUNNER_ERROR",
      message: expect.stringContaining("metadata.to") as unknown,
    });
    work.io.interrupt(new Interrupted("SIGTERM"));
    expect(await work.code).toBe(0);
    expect(work.io.stdout.text).toBe("");
  });

  test("has its options in docs/operating.md", async () => {
    const io = createFakeIo();
    expect(await runProgram(["work", "--help"], io)).toBe(0);
    const options = [...io.stdout.text.matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, name]) => name);
    const docs = await readFile("docs/operating.md", "utf8");
    const [, section = ""] = docs.split("## Commands on other machines");
    const [table = ""] = section.split("\n## ");
    const shown = [...table.matchAll(/^\| `(--[a-z-]+).*?\|/gm)].flatMap(([row]) => row.match(/--[a-z-]+/g) ?? []);
    expect(shown.sort()).toEqual(options.sort());
  });

  test("says that a command failed, and with which exit code", async () => {
    await using server = await openFakeRunnerServer();
    await using _work = startWork(server, "echo '::error no luck'; exit 7");
    const stream = await server.stream(0, maxMs);
    const failure = errorOf(await stream.run(5n));
    expect(failure).toMatchObject({ reason: "EXIT_CODE", message: "no luck", details: { exit_code: "7" } });
  });

  test("a cancel stops the command", async () => {
    await using server = await openFakeRunnerServer();
    await using _work = startWork(server, "echo begun; sleep 600");
    const stream = await server.stream(0, maxMs);
    await begin(stream, 5n);
    stream.abort(5n, AbortReason.CANCEL);
    expect((await stream.ended(5n, RUNNING, maxMs)).outcome.case).toBe("aborted");
  });

  test("asked to end, lets commands finish for a time, and gives back what takes longer", async () => {
    await using server = await openFakeRunnerServer();
    await using work = startWork(server, 'echo begun; test "$STINT_TASK_ID" = t5 || sleep 600; sleep 1', [
      "--capacity",
      "2",
      "--drain",
      "3s",
    ]);
    const stream = await server.stream(0, maxMs);
    await begin(stream, 5n);
    await begin(stream, 6n);
    work.io.interrupt(new Interrupted("SIGINT"));
    const ends = [await stream.ended(5n, RUNNING, maxMs), await stream.ended(6n, RUNNING, maxMs)];
    expect(ends.map(({ outcome }) => outcome.case)).toEqual(["done", "released"]);
    expect(await work.code).toBe(0);
  });

  test("takes its commands along when it exits in the middle", async () => {
    await using server = await openFakeRunnerServer();
    await using work = startWork(server, "echo begun; sleep 600");
    const stream = await server.stream(0, maxMs);
    await begin(stream, 5n);
    work.io.exit();
    expect(errorOf(await stream.ended(5n, RUNNING, maxMs))).toMatchObject({ details: { signal: "SIGKILL" } });
  });

  test("with --data-dir notes its commands there, alone", async () => {
    await using server = await openFakeRunnerServer();
    await using scratch = await makeScratchDirectory();
    const directory = join(scratch.path, "commands");
    await using _work = startWork(server, "echo begun; sleep 600", ["--data-dir", scratch.path, "--drain", "0s"]);
    const stream = await server.stream(0, maxMs);
    await begin(stream, 5n);
    expect(await readdir(directory)).toHaveLength(2);
    // As if it were another process's: that which has started this one.
    const pid = process.ppid;
    const owner = { pid, identity: createProcessTable().identify(pid), startedAt: 0 };
    await writeFile(join(directory, "owner"), JSON.stringify(owner));
    const io = createFakeIo({ env: { PATH: process.env["PATH"] ?? "" } });
    const args = ["work", "--controller", "steps", "--data-dir", scratch.path, "--", "true"];
    expect(await runProgram(args, io)).toBe(1);
    expect(io.stderr.text).toMatch(new RegExp(`^error: --data-dir: .*another process that runs, ${pid}\\n`));
    expect(await readdir(directory)).toHaveLength(2);
  });

  test("says how the server is to be named that speaks TLS, that speaks none, and that is not there", async () => {
    await using server = await openFakeRunnerServer();
    const file = (name: string): string => fileURLToPath(new URL(`../../support/tls/${name}`, import.meta.url));
    const secure = await startServer({
      listen: "127.0.0.1:0",
      store: "memory:",
      tlsCert: file("server.pem"),
      tlsKey: file("server.key"),
    });
    const warningAt = async (address: string): Promise<Record<string, unknown>> => {
      await using work = startWork(server, "true", ["--server", address]);
      let line: string | undefined;
      await eventually(() => {
        line = work.io.stderr.text.split("\n").find((each) => each.includes("not connected"));
        expect(line).toBeDefined();
      }, maxMs);
      return JSON.parse(line ?? "") as Record<string, unknown>;
    };
    expect(await warningAt(`https://${server.address}`)).toMatchObject({
      why: "no TLS comes about",
      hints: [`does it speak no TLS? Then it is: --server ${server.address}`],
    });
    const securely = `https://127.0.0.1:${secure.port}`;
    expect(await warningAt(`127.0.0.1:${secure.port}`)).toMatchObject({
      why: "what listens there closes the connection",
      hints: [expect.stringContaining(`does it speak TLS? Then it is: --server ${securely}`)],
    });
    await secure.close();
    const absent = await warningAt("127.0.0.1:1");
    expect(absent).toMatchObject({ why: expect.stringContaining("ECONNREFUSED") as unknown });
    expect(absent["hints"]).toContain("start one with: stint serve");
  });

  test.each([
    [9, 2, "FAILED_PRECONDITION", /hint: stint controllers/],
    [3, 2, "INVALID_ARGUMENT", /^error/],
    [7, 1, "PERMISSION_DENIED", /^error/],
  ])("ends when the server does not want it: %d", async (code, exitCode, name, text) => {
    await using server = await openFakeRunnerServer();
    server.refuseHello = { code, details: "not\x1b[2J you" };
    const work = startWork(server, "true");
    expect(await work.code).toBe(exitCode);
    expect(work.io.stderr.text).toContain(`does not take this runner: not\\x1b[2J you (${name})`);
    expect(work.io.stderr.text).toMatch(text);
  });
});
