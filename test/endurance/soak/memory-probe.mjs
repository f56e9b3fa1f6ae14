/**
 * Loaded into the server by --import: says at intervals what its process holds, a line of JSON each in the file STINT_PROBE. The heap is
 * measured after a collection of all garbage. STINT_PROBE_MS: how long it waits in between.
 */
import { appendFileSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

const file = process.env.STINT_PROBE ?? "";
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc");

function probe() {
  // What a collection finalizes is garbage for the next.
  for (let i = 0; i < 2; i += 1) collect();
  const { rss, heapUsed, external } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  const line = {
    atMs: performance.now(),
    rss,
    rssOfFiles: residentOfFiles(),
    // Buffers are in `external`: what is kept in one is kept.
    held: heapUsed + external,
    sockets: countSockets(),
    // What Node waits for: timers, connections.
    handles: process.getActiveResourcesInfo().length,
    cpuMs: (user + system) / 1_000,
  };
  appendFileSync(file, `${JSON.stringify(line)}\n`);
}

/** What of it are pages of files that are mapped: LevelDB's tables, programs. */
function residentOfFiles() {
  const [, kB] = /^RssFile:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return Number(kB ?? 0) * 1024;
}

function countSockets() {
  return readdirSync("/proc/self/fd").filter((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`).startsWith("socket:");
    } catch {
      // The one that the directory was read with.
      return false;
    }
  }).length;
}

/** At most a twentieth of the time goes to it, also where a machine with too much to do makes it slow. */
function again(tookMs) {
  const waitMs = Math.max(Number(process.env.STINT_PROBE_MS), 20 * tookMs);
  setTimeout(() => {
    const fromMs = performance.now();
    probe();
    again(performance.now() - fromMs);
  }, waitMs).unref();
}

again(0);
