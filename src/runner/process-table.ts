/** The processes of this machine, as far as this user may see them. */
import { execFile, execFileSync } from "node:child_process";
import { constants, openSync, readFileSync } from "node:fs";
import { readdir, readFile, readlink } from "node:fs/promises";
import { promisify } from "node:util";

/** The variable by which a process shows that a command of ours, or what it has started, runs in it. */
export const tokenVariable = "STINT_COMMAND_TOKEN";

/**
 * Opens a file as a mark for processes to inherit, which shows whose they are without their environment: to be read, and nevertheless with
 * O_APPEND. So no process changes it, and nobody is taken for marked who only looks at it.
 */
export function openMark(path: string): number {
  return openSync(path, constants.O_RDONLY | constants.O_APPEND);
}

export interface RunningProcess {
  readonly pid: number;
  readonly groupId: number;
  /** No other process ever has it: neither one that gets the same pid later, nor one after a restart of the machine. */
  readonly identity: string;
  /** When it was started, in a unit of the system's; 0 where that is not known. */
  readonly startedAt: number;
  /** The token in the environment that it was started with; undefined where there is none, or none can be seen. */
  loadToken(): Promise<string | undefined>;
  /** Whether it has one of the files at these absolute paths open as a mark (`openMark`); false where that cannot be seen. */
  isMarked(paths: ReadonlySet<string>): Promise<boolean>;
}

export interface ProcessTable {
  /** Those that run; none that has ended and only waits for its parent. */
  list(): Promise<readonly RunningProcess[]>;
  /** The identity of a process, which may have ended unless its parent has been told; undefined where there is none. */
  identify(pid: number): string | undefined;
  /** When the process was started, as in `list`; 0 where that is not known. */
  startedAt(pid: number): number;
  /** The processes that have the file at this absolute path open. None where the system does not tell. */
  holders(path: string): Promise<number[]>;
}

/** Made of /proc on Linux, of `ps` elsewhere, which shows no tokens. */
export function createProcessTable(): ProcessTable {
  return process.platform === "linux" ? createLinuxTable() : createPsTable();
}

export function createLinuxTable(): ProcessTable {
  const bootId = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  const identityOf = (stat: Stat): string => `${bootId}/${stat.pid}/${stat.startTicks}`;
  const scan = async (): Promise<RunningProcess[]> => {
    const stats = await forEachPid(async (pid) => parseStat(await readFile(`/proc/${pid}/stat`, "latin1")));
    return stats.filter(isRunning).map((stat) => {
      let token: Promise<string | undefined> | undefined;
      const { pid, groupId, startTicks } = stat;
      const loadToken = (): Promise<string | undefined> => (token ??= readToken(pid));
      const isMarked = (paths: ReadonlySet<string>): Promise<boolean> => hasMark(pid, paths);
      return { pid, groupId, identity: identityOf(stat), startedAt: startTicks, loadToken, isMarked };
    });
  };
  return {
    list: shareRounds(scan),
    identify(pid) {
      const stat = readStat(pid);
      return stat === undefined ? undefined : identityOf(stat);
    },
    startedAt: (pid) => readStat(pid)?.startTicks ?? 0,
    async holders(path) {
      const holders = await forEachPid(async (pid) => {
        const files = await openFiles(pid, new Set([path]));
        return files.length > 0 ? pid : undefined;
      });
      return holders.filter((pid) => pid !== undefined);
    },
  };
}

interface Stat {
  readonly pid: number;
  readonly state: string;
  readonly groupId: number;
  readonly startTicks: number;
}

/** A line of /proc/PID/stat (proc_pid_stat(5)). The name in it, in brackets, may have spaces and brackets of its own. */
export function parseStat(text: string): Stat {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return {
    pid: Number.parseInt(text, 10),
    state: fields[0] ?? "",
    groupId: Number(fields[2]),
    startTicks: Number(fields[19]),
  };
}

function isRunning({ state }: Stat): boolean {
  return state !== "Z" && state !== "X" && state !== "x";
}

function readStat(pid: number): Stat | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    // There is no such process.
    return undefined;
  }
}

async function readToken(pid: number): Promise<string | undefined> {
  // Another user's, or one that has ended, has none that could be read.
  const environment = await readFile(`/proc/${pid}/environ`, "latin1").catch(() => "");
  const entry = environment.split("\0").find((each) => each.startsWith(`${tokenVariable}=`));
  return entry?.slice(tokenVariable.length + 1);
}

/** The numbers under which a process has the files at these paths open. */
async function openFiles(pid: number, paths: ReadonlySet<string>): Promise<string[]> {
  const files = await readdir(`/proc/${pid}/fd`);
  const links = await Promise.all(files.map((file) => readlink(`/proc/${pid}/fd/${file}`).catch(() => "")));
  return files.filter((_, index) => paths.has(links[index] ?? ""));
}

async function hasMark(pid: number, paths: ReadonlySet<string>): Promise<boolean> {
  try {
    for (const file of await openFiles(pid, paths)) {
      const text = await readFile(`/proc/${pid}/fdinfo/${file}`, "latin1");
      const flags = Number.parseInt(/^flags:\s*([0-7]+)$/m.exec(text)?.[1] ?? "0", 8);
      if ((flags & constants.O_APPEND) !== 0) return true;
    }
  } catch {
    // Another user's, or one that has ended.
  }
  return false;
}

const pidsAtOnce = 32;

/** What `look` makes of every process; those that end while it looks are left out. */
async function forEachPid<T>(look: (pid: number) => Promise<T>): Promise<T[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const seen: T[] = [];
  for (let i = 0; i < pids.length; i += pidsAtOnce) {
    const looks = await Promise.allSettled(pids.slice(i, i + pidsAtOnce).map(look));
    for (const each of looks) if (each.status === "fulfilled") seen.push(each.value);
  }
  return seen;
}

/** Those who ask while a round is under way share the next one: many commands that stop together cost two rounds. */
function shareRounds<T>(round: () => Promise<T>): () => Promise<T> {
  let current: Promise<unknown> = Promise.resolve();
  let next: Promise<T> | undefined;
  return () => {
    next ??= current
      .catch(() => {})
      .then(() => {
        const started = round();
        current = started;
        next = undefined;
        return started;
      });
    return next;
  };
}

const psFields = ["-o", "pid=", "-o", "pgid=", "-o", "stat=", "-o", "lstart="];
/** The date that `ps` shows must be the same in every reading. */
const psOptions = { env: { PATH: "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" }, encoding: "utf8" } as const;

export function createPsTable(): ProcessTable {
  return {
    list: shareRounds(async () => {
      const { stdout } = await promisify(execFile)("ps", ["-A", ...psFields], { ...psOptions, maxBuffer: 1 << 26 });
      return stdout.split("\n").flatMap(parsePsLine);
    }),
    identify(pid) {
      try {
        // One that has ended and waits for its parent counts here.
        const line = execFileSync("ps", ["-p", String(pid), ...psFields], { ...psOptions, stdio: "pipe" });
        return identityOfPsLine(line);
      } catch {
        return undefined;
      }
    },
    startedAt: () => 0,
    holders: async () => [],
  };
}

const psLine = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.+?)\s*$/;

function parsePsLine(line: string): RunningProcess[] {
  const [, pid, groupId, state = ""] = psLine.exec(line) ?? [];
  const identity = identityOfPsLine(line);
  if (identity === undefined || state.startsWith("Z")) return [];
  const unseen = { loadToken: async () => undefined, isMarked: async () => false };
  return [{ pid: Number(pid), groupId: Number(groupId), identity, startedAt: 0, ...unseen }];
}

function identityOfPsLine(line: string): string | undefined {
  const [, pid, , , started] = psLine.exec(line.trim()) ?? [];
  return pid === undefined || started === undefined ? undefined : `${started}/${pid}`;
}
