/** Ending processes: a group at once, and whatever else somebody finds, until nothing of it is left. */
import { type Clock, sleep } from "../clock.ts";
import type { Log } from "../log.ts";
import type { ProcessTable, RunningProcess } from "./process-table.ts";

export interface ProcessPorts {
  readonly table: ProcessTable;
  readonly clock: Clock;
  readonly log: Log;
}

/** After this long it is said that something does not end. */
const slowMs = 10_000;
/** For so long the system alone is asked, which also counts those that have ended and whose parent has not been told. */
const quickMs = 200;
const pollMinMs = 2;
const pollMaxMs = 100;

/** Sends a signal to all processes of a group; nothing where there is none, or none that this user may end. */
export function signalGroup(groupId: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-groupId, signal);
  } catch (error) {
    if (!isGone(error) && !isForbidden(error)) throw error;
  }
}

/** Resolves when nobody in the group runs any more. */
export async function untilGroupIsGone(groupId: number, ports: ProcessPorts): Promise<void> {
  const { table, clock } = ports;
  const startedMono = clock.mono();
  const find = async (): Promise<number[]> => {
    if (!hasMembers(groupId)) return [];
    if (clock.mono() - startedMono < quickMs) return [groupId];
    const running = await table.list();
    return running.filter((each) => each.groupId === groupId).map(({ pid }) => pid);
  };
  await untilNoneIsFound(find, ports);
}

/**
 * Ends with SIGKILL what `find` finds among the processes that run, each with its whole group, until it finds nothing and all that was
 * found is gone. Resolves to how many there were. A process that is ending has no environment any more but still its files, so
 * what was found once is waited for by its identity.
 */
export async function endProcesses(
  find: (running: readonly RunningProcess[]) => Promise<readonly RunningProcess[]>,
  ports: ProcessPorts & { readonly maxMs?: number },
): Promise<number> {
  const ended = new Set<string>();
  const findAndEnd = async (): Promise<number[]> => {
    const running = await ports.table.list();
    const found = await find(running);
    const groups = new Set(found.map(({ groupId }) => groupId));
    for (const { identity, groupId } of running) if (groups.has(groupId)) ended.add(identity);
    for (const { pid, groupId, identity } of found) {
      // Looked at once more, as the pid might be another's by now.
      if (ports.table.identify(pid) === identity) signalGroup(groupId, "SIGKILL");
    }
    return running.filter(({ identity }) => ended.has(identity)).map(({ pid }) => pid);
  };
  await untilNoneIsFound(findAndEnd, ports);
  return ended.size;
}

/** Throws after `maxMs`, if given, with the pids that are still found. */
async function untilNoneIsFound(
  find: () => Promise<readonly number[]>,
  { clock, log, maxMs }: ProcessPorts & { readonly maxMs?: number },
): Promise<void> {
  const startedMono = clock.mono();
  let isSlow = false;
  for (let delayMs = pollMinMs; ; delayMs = Math.min(2 * delayMs, pollMaxMs)) {
    const pids = await find();
    if (pids.length === 0) return;
    const waitedMs = clock.mono() - startedMono;
    if (maxMs !== undefined && waitedMs > maxMs) throw new Error(`processes that do not end: ${pids.join(", ")}`);
    if (waitedMs > slowMs && !isSlow) {
      isSlow = true;
      log.warn({ pids }, "processes of a command do not end, although they were told to; they are waited for");
    }
    await sleep(clock, delayMs);
  }
}

/** Whether the group has members, such included that have ended and whose parent has not been told. */
function hasMembers(groupId: number): boolean {
  try {
    process.kill(-groupId, 0);
    return true;
  } catch (error) {
    return !isGone(error);
  }
}

function isGone(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ESRCH";
}

function isForbidden(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "EPERM";
}
