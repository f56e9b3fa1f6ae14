/**
 * The commands that a server runs, on record, so that the next server ends what this one leaves when it is killed.
 *
 * It owns a directory: a file for each command that runs, and `owner`, which the server has open while it lives.
 *
 * A record: absent -> begun (an empty file, named by the command's token) -> started (it names the process: pid and identity) -> absent (nobody is left of it).
 *
 * 1. A command is spawned only when its record has begun, in a group of its own, with the token in its environment and the record open as a mark; the record
 *    goes only when that group is gone. So everything that a dead server left is found when the next one opens the directory: by the token or the mark, at
 *    whatever moment the server died, or by the pid and identity.
 * 2. Nothing is ended that is not surely a command's. A process is one if it carries the token of a record or has that open as a mark, which only the
 *    command and what it has started do, or has the pid and the identity of one; all of its group are then, because a command begins as the leader of a session
 *    of its own. A pid alone is nothing, and so is the number of a group: it may be another's by now.
 * 3. When a directory is opened, everything of the servers before is gone before anything is started; where that cannot be, opening fails.
 * 4. A copy of a directory, whose owner runs elsewhere on this machine, ends nothing of that owner's.
 *
 * A process that was forked and is not yet the command has no token. It still has all files of the server it was forked from, `owner` among them: where a record has
 * begun and names no process, opening waits until nobody has that file. (Such a process is stuck in its working directory or in loading the command.)
 *
 * The records are not synced to disk: what a power failure loses has ended with it. A record that was cut short counts as begun.
 *
 * Not found: a process that has cleared its environment and closed the files it has inherited, if nobody is left of its group of whom one is sure; and on systems other than Linux one whose command's own process has
 * ended, or that was started in the few milliseconds before the record named it.
 */
import type { ChildProcess } from "node:child_process";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { readdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, sleep } from "../clock.ts";
import type { Log } from "../log.ts";
import { makeDirectory } from "../make-directory.ts";
import type { Random } from "../random.ts";
import { endProcesses, type ProcessPorts, signalGroup } from "./process-group.ts";
import { createProcessTable, openMark, type ProcessTable, type RunningProcess } from "./process-table.ts";

export interface OpenCommandsOptions {
  /** Where the records are; made if it is not there. Default: nowhere, so that nothing is found after a crash. */
  readonly directory?: string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly table?: ProcessTable | undefined;
  /** How long opening waits for processes to end, in ms. Default 10,000. */
  readonly endMaxMs?: number | undefined;
  /** Opening fails while another process has the directory open. Not needed where something else sees to that, as the lock of a store. */
  readonly isExclusive?: boolean | undefined;
}

/** One command, from before its start until nothing of it is left. */
export interface CommandRecord {
  /** To be in the command's environment, as `tokenVariable`. */
  readonly token: string;
  /** Starts the command, by what is given the mark that it has to inherit, and records its process in the same tick, before the system can forget that. */
  spawn(start: (mark: number | undefined) => ChildProcess): ChildProcess;
  end(): Promise<void>;
}

/** What a record says of its process. */
interface Leader {
  readonly pid: number;
  readonly identity: string;
  readonly startedAt: number;
}

const ownerName = "owner";
const retryMs = 1_000;
const settleMs = 100;

export class Commands {
  readonly ports: ProcessPorts;
  readonly #directory: string | undefined;
  readonly #random: Random;
  /** The tokens of the commands that were begun, each with the group of its process once there is one. */
  readonly #live = new Map<string, number | undefined>();
  #owner: number | undefined;
  #whenNoneIsLeft: (() => void) | undefined;

  constructor(options: OpenCommandsOptions & { readonly table: ProcessTable }) {
    const { directory, clock, random, log, table } = options;
    this.ports = { clock, log, table };
    this.#random = random;
    this.#directory = directory;
    if (directory === undefined) return;
    this.#owner = openSync(join(directory, ownerName), "w", 0o600);
    writeFileSync(this.#owner, JSON.stringify(leaderOf(process.pid, table)));
  }

  /** Begins a record; while it cannot be written, waits and tries again until `signal` is aborted, and throws its reason then. */
  async begin(signal: AbortSignal): Promise<CommandRecord> {
    const token = this.#random.id();
    this.#live.set(token, undefined);
    const directory = this.#directory;
    if (directory === undefined) {
      return { token, spawn: (start) => this.#spawn(token, start), end: async () => this.#forget(token) };
    }
    const path = join(directory, token);
    try {
      await this.#write(path, signal);
    } catch (error) {
      this.#forget(token);
      throw error;
    }
    return {
      token,
      spawn: (start) => this.#spawnOnRecord(token, path, start),
      end: async () => {
        try {
          await rm(path, { force: true });
        } catch (error) {
          this.ports.log.warn({ err: error, path }, "the record of a command that has ended cannot be removed");
        }
        this.#forget(token);
      },
    };
  }

  /** Resolves when none is left of the commands that were begun. */
  async close(): Promise<void> {
    if (this.#live.size > 0) await new Promise<void>((resolve) => (this.#whenNoneIsLeft = resolve));
    if (this.#owner !== undefined) closeSync(this.#owner);
    this.#owner = undefined;
  }

  /** Ends all commands that run, with SIGKILL and in this tick: for a process that is about to exit and waits for nothing. */
  kill(): void {
    for (const groupId of this.#live.values()) if (groupId !== undefined) signalGroup(groupId, "SIGKILL");
  }

  #forget(token: string): void {
    this.#live.delete(token);
    if (this.#live.size === 0) this.#whenNoneIsLeft?.();
  }

  async #write(path: string, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.ports;
    for (let tries = 1; ; tries += 1) {
      signal.throwIfAborted();
      try {
        return await writeFile(path, "", { mode: 0o600 });
      } catch (error) {
        if (tries === 1) log.warn({ err: error, path }, "a command cannot be recorded, and waits until it can be");
        await sleep(clock, retryMs, signal);
      }
    }
  }

  #spawn(token: string, start: (mark: number | undefined) => ChildProcess, mark?: number): ChildProcess {
    const child = start(mark);
    this.#live.set(token, child.pid);
    return child;
  }

  #spawnOnRecord(token: string, path: string, start: (mark: number | undefined) => ChildProcess): ChildProcess {
    let mark: number | undefined;
    try {
      mark = openMark(path);
    } catch (error) {
      this.ports.log.warn({ err: error, path }, "the record of a command cannot be opened");
    }
    try {
      const child = this.#spawn(token, start, mark);
      if (child.pid !== undefined) this.#recordStart(path, child.pid);
      return child;
    } finally {
      // At once, so that no other command is ever forked with it.
      if (mark !== undefined) closeSync(mark);
    }
  }

  #recordStart(path: string, pid: number): void {
    try {
      // Not later, when others may have their turn: a server killed in between would leave a command that only its token tells of.
      writeFileSync(path, JSON.stringify(leaderOf(pid, this.ports.table)));
    } catch (error) {
      this.ports.log.warn({ err: error, path }, "the process of a command cannot be recorded");
    }
  }
}

function leaderOf(pid: number, table: ProcessTable): Leader {
  return { pid, identity: table.identify(pid) ?? "", startedAt: table.startedAt(pid) };
}

/** Opens the directory: ends what servers before have left. Throws where something of that does not end. */
export async function openCommands(options: OpenCommandsOptions): Promise<Commands> {
  const { directory, table = createProcessTable() } = options;
  if (directory !== undefined) {
    await makeDirectory(directory, 0o700);
    if (options.isExclusive) await checkIsFree(directory, table);
    await endLeftCommands(directory, { ...options, table });
  }
  return new Commands({ ...options, table });
}

async function checkIsFree(directory: string, table: ProcessTable): Promise<void> {
  const owner = await readLeader(join(directory, ownerName));
  if (owner === undefined || !(await isAlive(owner, table))) return;
  throw new Error(`the commands in ${directory} are those of another process that runs, ${owner.pid}`);
}

/** Whether the process is another than this one, and runs. One that was killed and whose parent has not been told does not, but `identify` still knows it. */
async function isAlive({ pid, identity }: Leader, table: ProcessTable): Promise<boolean> {
  return pid !== process.pid && (await table.list()).some((each) => each.identity === identity);
}

interface LeftCommand {
  readonly token: string;
  /** Of its record, absolute and without links; undefined where nobody is to be found by that. */
  readonly path?: string | undefined;
  /** undefined for a record that has only begun. */
  readonly leader: Leader | undefined;
}

/** Ends the commands that the records in a directory tell of, and removes those. Resolves to the number of processes that it found. */
export async function endLeftCommands(
  directory: string,
  { clock, log, table, endMaxMs: maxMs = 10_000 }: OpenCommandsOptions & { readonly table: ProcessTable },
): Promise<number> {
  const names = await readdir(directory).catch(() => []);
  const tokens = names.filter((name) => name !== ownerName && /^[\w-]+$/.test(name));
  if (tokens.length === 0) return 0;
  const place = await realpath(directory);
  const left = await Promise.all(
    tokens.map(async (token) => {
      const path = join(place, token);
      return { token, path, leader: await readLeader(path) };
    }),
  );
  const owner = await readLeader(join(directory, ownerName));
  let found = 0;
  if (owner !== undefined && (await isAlive(owner, table))) {
    log.warn({ owner: owner.pid, directory }, "the commands on record are those of a server that runs; they are left");
  } else {
    if (left.some(({ leader }) => leader === undefined)) await untilNobodyHolds(place, { clock, log, table, maxMs });
    found = await endProcesses((running) => findLeft(left, running), { clock, log, table, maxMs });
    if (found > 0) log.warn({ processes: found }, "ended what a process that died had left of its commands");
    tellOfDoubts(left, await table.list(), log);
  }
  await Promise.all(tokens.map((token) => rm(join(directory, token), { force: true })));
  return found;
}

/** The processes that surely are, or come from, one of the commands. */
export async function findLeft(
  left: readonly LeftCommand[],
  running: readonly RunningProcess[],
): Promise<RunningProcess[]> {
  const tokens = new Set(left.map(({ token }) => token));
  const paths = new Set(left.flatMap(({ path }) => path ?? []));
  const identities = new Set(left.map(({ leader }) => leader?.identity));
  // What a command has started was started after it.
  const since = Math.min(...left.map(({ leader }) => leader?.startedAt ?? 0));
  const isLeft = await Promise.all(
    running.map(async (each) => {
      if (each.pid === process.pid || each.startedAt < since) return false;
      if (identities.has(each.identity) || tokens.has((await each.loadToken()) ?? "")) return true;
      return paths.size > 0 && each.isMarked(paths);
    }),
  );
  return running.filter((_, index) => isLeft[index]);
}

/** A group whose number is that of a command, and in which nobody can be told to be of it any more, may be another's. */
function tellOfDoubts(left: readonly LeftCommand[], running: readonly RunningProcess[], log: Log): void {
  for (const { leader } of left) {
    if (leader === undefined || running.some(({ pid }) => pid === leader.pid)) continue;
    const members = running.filter((each) => each.groupId === leader.pid && each.startedAt >= leader.startedAt);
    if (members.length === 0) continue;
    const pids = members.map(({ pid }) => pid);
    log.warn(
      { pids },
      "these may be what a process that died had left of a command; that is not sure, so they are left",
    );
  }
}

async function untilNobodyHolds(directory: string, ports: ProcessPorts & { readonly maxMs: number }): Promise<void> {
  const { clock, table, maxMs } = ports;
  const path = join(directory, ownerName);
  const startedMono = clock.mono();
  for (;;) {
    const holders = (await table.holders(path)).filter((pid) => pid !== process.pid);
    if (holders.length === 0) break;
    if (clock.mono() - startedMono > maxMs) throw new Error(`processes that have ${path} open: ${holders.join(", ")}`);
    await sleep(clock, 10);
  }
  // A process loses its files an instant before its environment can be seen.
  await sleep(clock, settleMs);
}

async function readLeader(path: string): Promise<Leader | undefined> {
  try {
    const { pid, identity, startedAt } = JSON.parse(await readFile(path, "utf8")) as Partial<Leader>;
    if (typeof pid !== "number" || typeof identity !== "string" || typeof startedAt !== "number") return undefined;
    return { pid, identity, startedAt };
  } catch {
    // There is none, or it was cut short.
    return undefined;
  }
}
