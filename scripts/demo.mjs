// `npm run demo`: a task that outlives its server. A server hashes this repository's own node_modules (or
// the path that is given), is killed with SIGKILL half way and started again, and the task completes.
//
// 1. When to kill is decided by the task's own progress, never by time.
// 2. All that it writes is in one scratch directory, and all that it starts is its own child: both are
//    gone when it ends, be it by Ctrl-C or by a failure.
// 3. The watch draws at the bottom of the terminal. What is said meanwhile waits for the watch to
//    make room for a message of its own, lest the two write over each other.
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { openClient } from "../dist/cli/client.js";
import { Interrupted } from "../dist/cli/io.js";
import { runProgram } from "../dist/cli/program.js";
import { formatPercent, fractionOf } from "../dist/cli/text/format.js";
import { hasEnded, stateName } from "../dist/cli/text/task-text.js";
import { createTextOutput } from "../dist/cli/text-output.js";
import { watchTask } from "../dist/cli/watch-stream.js";
import { systemClock } from "../dist/clock.js";
import { systemRandom } from "../dist/random.js";
import { root } from "./run-tool.mjs";

const task = { controller: "checksum", taskId: "demo" };

/** Aborted by Ctrl-C, and by whatever else leaves nothing to wait for. */
const stopping = new AbortController();
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, () => stopping.abort(new Interrupted(name)));

/** What is to be said when the watch makes room for it (3). */
const toSay = [];
const stdout = createTextOutput(process.stdout, () => stopping.abort(new Interrupted("SIGTERM")));
const stderr = createTextOutput(process.stderr, () => {});
const io = {
  program: "npx stint",
  stdout,
  stderr: {
    ...stderr,
    write(text) {
      // What a command says when it is stopped (the task goes on) is not true of this one.
      if (stopping.signal.aborted) return;
      stdout.write(toSay.splice(0).join(""));
      stderr.write(text);
    },
  },
  readStdin: async () => "",
  env: process.env,
  clock: systemClock,
  random: systemRandom,
  signal: stopping.signal,
  onExit: () => () => {},
};

/** The server as its own process: on one port and one directory, whatever happens to the process. */
class Server {
  /** The first start picks the port; the next ones keep it. */
  address = "127.0.0.1:0";
  process;
  #directory;

  constructor(directory) {
    this.#directory = directory;
  }

  /** Resolves when it serves; rejects with what it said when it ends before. */
  async start() {
    const options = ["--config", join(root, "examples", "stint.yaml"), "--no-banner"];
    const places = ["--listen", this.address, "--data-dir", join(this.#directory, "store")];
    this.process = spawn(process.execPath, [join(root, "dist", "cli", "main.js"), "serve", ...options, ...places], {
      // The runner keeps a file of its own there, and the loader of TypeScript its cache.
      env: { ...process.env, TMPDIR: this.#directory, STINT_CHECKSUM_STATE: join(this.#directory, "checksum") },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.address = await this.#up(this.process).catch((error) => {
      // Ctrl-C reaches the server too.
      stopping.signal.throwIfAborted();
      throw error;
    });
  }

  #up(started) {
    return new Promise((resolveUp, reject) => {
      const said = [];
      createInterface({ input: started.stderr }).on("line", (line) => {
        const { msg, address } = parseRecord(line);
        if (msg === "the server is up") resolveUp(address);
        said.push(line);
        if (said.length > 20) said.shift();
      });
      started.once("error", reject);
      started.once("close", () => reject(new Error(`the server did not start:\n${said.join("\n")}`)));
    });
  }

  async kill() {
    const killed = this.process;
    if (killed?.pid === undefined || killed.exitCode !== null || killed.signalCode !== null) return;
    const exited = new Promise((resolveExit) => killed.once("exit", resolveExit));
    killed.kill("SIGKILL");
    await exited;
  }
}

/** A line of the server's log; what is none has no fields. */
function parseRecord(line) {
  try {
    return JSON.parse(line);
  } catch {
    return {};
  }
}

/** Launches the task and shows it to its end; returns the exit status of the command. */
async function launchAndShow(server, path) {
  // A slow hash, so that there is something to see.
  const metadata = JSON.stringify({ path, algorithm: "sha3-512" });
  const args = ["launch", task.controller, task.taskId, "--metadata", metadata, "--watch"];
  const code = await runProgram([...args, "--server", server.address], io);
  // Whoever waits for the task to get half way would wait for ever.
  if (code !== 0) stopping.abort(new Interrupted("SIGTERM"));
  return code;
}

/** Kills the server when the task is half way, and starts it again; resolves with the task at its end, and how far it was. */
async function killHalfWay(server) {
  const client = openClient(server.address, { clock: systemClock });
  let fraction = 0;
  let killedAt;
  let last;
  try {
    for await (const { kind, message } of watchTask(client, { ...task, waitForLaunch: true }, io)) {
      if (kind !== "message" || message.status === undefined) continue;
      last = message.status;
      fraction = (last.progress && fractionOf(last.progress)) ?? 0;
      if (killedAt !== undefined || fraction < 0.5 || hasEnded(last.state)) continue;
      killedAt = fraction;
      toSay.push(
        `Half way, at ${formatPercent(fraction)}: the server (process ${server.process.pid}) is killed with SIGKILL.\n`,
      );
      await server.kill();
      await server.start();
      toSay.push(`It is started again (process ${server.process.pid}), on the same data.\n`);
    }
  } catch (error) {
    // The watch on the screen would wait for the server to come back.
    stopping.abort(error instanceof Interrupted ? error : new Interrupted("SIGTERM"));
    throw error;
  } finally {
    client.close();
  }
  return { status: last, killedAt };
}

async function demo(server, path) {
  await server.start();
  stdout.write(
    `A server is up at ${server.address} (process ${server.process.pid}). Its task is to hash every file in ${path}.\n\n`,
  );
  const [shown, seen] = await Promise.allSettled([launchAndShow(server, path), killHalfWay(server)]);
  if (seen.status === "rejected" && !(seen.reason instanceof Interrupted)) throw seen.reason;
  if (shown.value !== 0 || seen.status === "rejected") return shown.value || 1;
  const { status, killedAt } = seen.value;
  if (killedAt === undefined || status.attempt < 2) {
    throw new Error("the task was over before the server could be killed; give it more to do: npm run demo -- PATH");
  }
  stdout.write(
    `\n${stateName(status.state)}, in attempt ${status.attempt}. What was done when the server was killed, ` +
      `${formatPercent(killedAt)}, was on disk,\nand the task went on from there.\n`,
  );
  return 0;
}

const scratch = await mkdtemp(join(tmpdir(), "stint-demo-"));
const server = new Server(scratch);
try {
  process.exitCode = await demo(server, resolve(process.argv[2] ?? join(root, "node_modules")));
} catch (error) {
  if (!(error instanceof Interrupted))
    process.stderr.write(`error: ${error instanceof Error ? error.message : error}\n`);
  process.exitCode = error.exitCode ?? 1;
} finally {
  await server.kill();
  await rm(scratch, { recursive: true, force: true });
}
