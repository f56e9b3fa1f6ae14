/**
 * A command that runs: a process group, and the two streams of its output.
 *
 * States: running -> stopping (SIGTERM was sent to the group) -> exited (the command's own process has) -> gone (nobody in the group runs) ->
 * done (the output was read to its end). A command that exits by itself is never stopping.
 *
 * 1. SIGKILL follows SIGTERM after `stopMs`, unless the group is gone by then. What a command that exits by itself leaves in its group gets SIGKILL at once.
 * 2. A command that was stopped takes with it all it has started: also what has left its group, as far as that carries its token. One
 *    that exits by itself may leave behind what has left its group, such as a daemon.
 * 3. The output is read as fast as it is taken, and to its end. Who still has a stream open after the group is gone does not belong to the command: what it
 *    says later is not waited for.
 */
import type { ChildProcess } from "node:child_process";
import type { Readable } from "node:stream";
import { nextTurn } from "../async/next-turn.ts";
import { sleep } from "../clock.ts";
import { type CommandOutput, logLevel } from "./command-output.ts";
import { findLeft } from "./commands.ts";
import { LineSplitter } from "./line-splitter.ts";
import { resultMaxBytes, resultPrefix } from "./output-line.ts";
import { endProcesses, type ProcessPorts, signalGroup, untilGroupIsGone } from "./process-group.ts";

/** How a command's own process exited: one of the two is there. */
export interface CommandExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface CommandProcessOptions {
  readonly child: ChildProcess;
  readonly token: string;
  readonly output: CommandOutput;
  readonly ports: ProcessPorts;
  readonly stopMs: number;
}

/** Longer lines are cut: the most that a log entry has. */
const lineMaxBytes = 16 * 1024;
const lineOptions = {
  maxBytes: lineMaxBytes,
  long: { prefix: resultPrefix, maxBytes: resultPrefix.length + resultMaxBytes },
};
/** How long nothing may come, once the group is gone, until its output counts as read. */
const quietMs = 500;
/** More than a pipe and the buffers behind it hold: what comes after so much was written after the group was gone. */
const restMaxBytes = 2 * 1024 * 1024;

export class CommandProcess {
  readonly #options: CommandProcessOptions;
  readonly #groupId: number;
  readonly #startedAt: number;
  readonly #exited: Promise<CommandExit>;
  readonly #read: Promise<unknown>;
  #state: "running" | "stopping" | "exited" = "running";
  #wasStopped = false;
  #cancelKill: (() => void) | undefined;
  #bytesRead = 0;
  /** How many streams have something that is not taken yet. */
  #busy = 0;

  /** The child has been spawned, as the leader of a group of its own. */
  constructor(options: CommandProcessOptions) {
    this.#options = options;
    const { child, ports } = options;
    if (child.pid === undefined || child.stdout === null || child.stderr === null)
      throw new Error("a command that was spawned has a pid and pipes");
    this.#groupId = child.pid;
    this.#startedAt = ports.table.startedAt(child.pid);
    this.#exited = new Promise((resolve) => {
      const exited = (code: number | null, signal: NodeJS.Signals | null): void => {
        this.#state = "exited";
        resolve({ code, signal });
      };
      if (child.exitCode !== null || child.signalCode !== null) exited(child.exitCode, child.signalCode);
      else child.once("exit", exited);
    });
    this.#read = Promise.all([this.#pump(child.stdout, logLevel.info), this.#pump(child.stderr, logLevel.warn)]);
  }

  /** Whether it was told to stop before it exited. */
  get wasStopped(): boolean {
    return this.#wasStopped;
  }

  /** Tells it to stop, unless it has exited. */
  stop(): void {
    if (this.#state !== "running") return;
    this.#state = "stopping";
    this.#wasStopped = true;
    const { ports, stopMs } = this.#options;
    signalGroup(this.#groupId, "SIGTERM");
    this.#cancelKill = ports.clock.after(stopMs, () => signalGroup(this.#groupId, "SIGKILL"));
  }

  /** Resolves when it is done. */
  async done(): Promise<CommandExit> {
    const { ports, child } = this.#options;
    const exit = await this.#exited;
    if (!this.#wasStopped) signalGroup(this.#groupId, "SIGKILL");
    await untilGroupIsGone(this.#groupId, ports);
    this.#cancelKill?.();
    if (this.#wasStopped) await this.#endStrays();
    await this.#readRest();
    for (const stream of child.stdio) stream?.destroy();
    return exit;
  }

  async #endStrays(): Promise<void> {
    const { ports, token } = this.#options;
    const leader = { pid: this.#groupId, identity: "", startedAt: this.#startedAt };
    await endProcesses((running) => findLeft([{ token, leader }], running), ports);
  }

  async #pump(stream: Readable, level: number): Promise<void> {
    const { output } = this.#options;
    const lines = new LineSplitter(lineOptions);
    try {
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        this.#bytesRead += chunk.length;
        this.#busy += 1;
        for (const line of lines.push(chunk)) {
          const room = output.take(line, level);
          if (room !== undefined) await room;
        }
        this.#busy -= 1;
        // However fast it comes: others have their turn.
        await nextTurn();
      }
    } catch {
      // The stream was given up (readRest), or cannot be read any more: what came is what there is.
    }
    const last = lines.end();
    if (last !== undefined) await output.take(last, level);
  }

  async #readRest(): Promise<void> {
    const { ports, child } = this.#options;
    const readBefore = this.#bytesRead;
    const end = new AbortController();
    const read = this.#read.finally(() => end.abort());
    for (;;) {
      const before = this.#bytesRead;
      await Promise.race([read, sleep(ports.clock, quietMs, end.signal)]);
      if (end.signal.aborted) return;
      const isQuiet = this.#busy === 0 && this.#bytesRead === before;
      if (isQuiet || this.#bytesRead - readBefore > restMaxBytes) break;
    }
    child.stdout?.destroy();
    child.stderr?.destroy();
    await read;
  }
}
