#!/usr/bin/env node
// The process: nothing else in Stint reads argv, the environment or signals, writes to stdout or stderr, or exits.
//
// 1. The first SIGINT or SIGTERM asks the command to stop; the second ends the process at once. Under npm, which passes on a
//    Ctrl-C that the terminal has sent to all, one that comes with the first is the first.
// 2. A reader of stdout that goes away (stint list | head) ends the process quietly; one of stderr does not: a server goes on
//    without its log.
// 3. A stack is shown for what nobody caught, which is a bug of Stint's or of a module with a runner, and for nothing else. It
//    ends the process, but for a promise that was rejected while a server runs: that is in its log, and hurts no other task.
// 4. "__proto__" is a name like any other, as with node --disable-proto=delete: decoders of messages would set the prototype
//    of a map with it, and so lose a key that a client has sent.
// 5. One of Node's warnings is kept back, that a server with TLS is called by its address (DEP0123): @grpc/grpc-js does that, and
//    whoever types a command can do nothing about it. The certificate is checked for the address all the same.

import { basename, relative } from "node:path";
import { addAbortSignal } from "node:stream";
import { systemClock } from "../clock.ts";
import { systemRandom } from "../random.ts";
import { exitCode } from "./exit-code.ts";
import { Interrupted, type Io, type UncaughtEvent } from "./io.ts";
import { runProgram } from "./program.ts";
import { createTextOutput } from "./text-output.ts";

delete (Object.prototype as { __proto__?: unknown }).__proto__;

const emitWarning = process.emitWarning.bind(process) as (...warning: readonly unknown[]) => void;
process.emitWarning = (...warning: readonly unknown[]) => {
  if (!warning.includes("DEP0123")) emitWarning(...warning);
};

/** What a shell reports for a process that SIGPIPE ended. */
const brokenPipe = 141;

/** By npm start or npx. */
const startedByNpm = ["start", "npx"].includes(process.env["npm_lifecycle_event"] ?? "");
/** How long after a signal npm may take to send it again. */
const repeatMaxMs = 500;

const stopping = new AbortController();
let stoppedAtMs = 0;
for (const signalName of ["SIGINT", "SIGTERM"] as const) {
  process.on(signalName, () => {
    const interrupted = new Interrupted(signalName);
    const nowMs = systemClock.mono();
    if (!stopping.signal.aborted) stoppedAtMs = nowMs;
    else if (!startedByNpm || nowMs - stoppedAtMs > repeatMaxMs) process.exit(interrupted.exitCode);
    stopping.abort(interrupted);
  });
}
let takeUncaught = (_event: UncaughtEvent, error: unknown): boolean => {
  process.stderr.write(
    `error: unexpected: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  return false;
};
for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (error: unknown) => {
    if (!takeUncaught(event, error)) process.exit(exitCode.failed);
  });
}

const io: Io = {
  program: programName(process.argv[1] ?? ""),
  pid: process.pid,
  stdout: createTextOutput(process.stdout, (error) => process.exit(error.code === "EPIPE" ? brokenPipe : 1)),
  stderr: createTextOutput(process.stderr, () => {}),
  readStdin,
  env: process.env,
  clock: systemClock,
  random: systemRandom,
  signal: stopping.signal,
  onExit(restore) {
    process.on("exit", restore);
    return () => process.off("exit", restore);
  },
  onUncaught(take) {
    takeUncaught = take;
  },
};

const code = await runProgram(process.argv.slice(2), io);
await Promise.all([io.stdout.drained(), io.stderr.drained()]);
// Not left to the event loop: modules with runners may have left timers and sockets of their own behind.
process.exit(code);

/** "stint" where it is installed; what works in the same directory otherwise. */
function programName(script: string): string {
  // Whoever had npm find it may not have it on the path.
  if (startedByNpm) return "npx stint";
  if (basename(script) === "stint") return "stint";
  return `${script.endsWith(".ts") ? "npx tsx" : "node"} ${relative(process.cwd(), script)}`;
}

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of addAbortSignal(stopping.signal, process.stdin)) chunks.push(chunk as Buffer);
  } catch (error) {
    stopping.signal.throwIfAborted();
    throw error;
  }
  return Buffer.concat(chunks).toString("utf8");
}
