/**
 * `stint serve` in a process of its own, under a load that it can carry for ever, with something going wrong every 30 s: what it holds must not grow.
 *
 * SOAK_MINUTES: how long (default 0.05; with less than 2 only that everything is right, and nothing left open, is checked). SOAK_RATE: how many things are begun
 * a second (default 20); SOAK_SEED: what they go by; printed. SOAK_KEEP: a directory for the samples, lines of JSON; else they go with the test. The server is one
 * process from the first sample to the last: its restarts have tests of their own. Needs dist/ (npm run build).
 *
 * Warm-up is a third of the time, and 20 minutes at most. In the first part of it tasks that do nothing come and go besides (fillTasks, fillRemoteTasks), as many as it takes to bring
 * to its bound what has one in tasks: at the rate of the rest the caches of the store would go on filling for two hours (65,536 index entries, of which each task leaves
 * one; 2,000 runs of remote runners), and look like a leak. So whatever grows after it has no bound, or one that is not known here. In the other part, 12 minutes,
 * records of the tasks that do something take the place of theirs in the cache of the newest, and those that ended go. With less than an hour there are fewer, and
 * nothing is full: what memory does is printed then, and counts for nothing.
 *
 * Of resident memory the pages of mapped files are said, and not counted: LevelDB maps its tables, up to 64 of 1 MiB. They are what of the store was read lately, the system takes
 * them back when it likes, and the store grows for a day, as that is how long request ids are remembered.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { openStore } from "../../src/store/open.ts";
import { checkConsistency } from "../support/check-consistency.ts";
import { eventually } from "../support/eventually.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { Load } from "./soak/load.ts";
import { median, type Point, slopeMaxMiB, slopePerHour } from "./soak/trend.ts";
import { diskBytes, type Fault, faults, historyBytes, openWorld, type Sample, type World } from "./soak/world.ts";

const minutes = Number(process.env["SOAK_MINUTES"] ?? 0.05);
const rate = Number(process.env["SOAK_RATE"] ?? 20);
const seed = Number(process.env["SOAK_SEED"] ?? Math.floor(Math.random() * 2 ** 32));

const totalMs = minutes * 60_000;
const warmUpMaxMs = 20 * 60_000;
/** Shorter than that nothing can be said of what is held. */
const isMeasured = minutes >= 2;
const warmUpMs = Math.min(totalMs / 3, warmUpMaxMs);
/** Whether what has a bound has come to it when the warm-up is over. */
const isFilled = warmUpMs === warmUpMaxMs;
const probeMs = isMeasured ? 5_000 : 500;
const faultEveryMs = Math.min(30_000, totalMs / 4);
const MiB = 1024 * 1024;
const logBytes = 16 * MiB;
/** What a warm-up of the full time has done besides. */
const fillTasks = 80_000;
const fillRemoteTasks = 3_000;
/** In this part of the warm-up. */
const fillPart = 0.4;

let line = "it did not come to its end";
afterAll(() => {
  process.stderr.write(`soak: ${minutes} min at ${rate} a second, SOAK_SEED=${seed}: ${line}\n`);
});

/** One after the other, until the signal; resolves to how often there was each. */
async function befall(world: World, signal: AbortSignal): Promise<Map<Fault, number>> {
  const counts = new Map<Fault, number>();
  const kinds = Object.keys(faults) as Fault[];
  for (let n = 0; ; n += 1) {
    await sleep(faultEveryMs, undefined, { signal }).catch(() => {});
    if (signal.aborted) return counts;
    const kind = kinds[n % kinds.length] as Fault;
    const nth = counts.get(kind) ?? 0;
    await faults[kind](world, nth);
    counts.set(kind, nth + 1);
  }
}

/** The largest size of the store that was seen, until the signal. */
async function watchDisk(world: World, signal: AbortSignal): Promise<number> {
  let most = 0;
  while (!signal.aborted) {
    most = Math.max(most, await diskBytes(world.data));
    await sleep(probeMs, undefined, { signal }).catch(() => {});
  }
  return most;
}

/** What entries of the store have in keys and values, of the controllers alone. */
async function liveBytes(data: string): Promise<number> {
  const store = await openStore(`level:${data}`);
  let bytes = 0;
  for (let after = ""; ; ) {
    const entries = await store.scan({ prefix: "/", limit: 1_000, after });
    for (const { key, value } of entries) bytes += key.length + value.byteLength;
    const last = entries.at(-1);
    if (last === undefined) break;
    after = last.key;
  }
  for (const name of ["steps", "count"]) await checkConsistency(store, name);
  await store.close();
  return bytes;
}

const measures = {
  /** Without the pages of files. */
  rss: ({ rss, rssOfFiles }: Sample) => rss - rssOfFiles,
  rssOfFiles: ({ rssOfFiles }: Sample) => rssOfFiles,
  held: ({ held }: Sample) => held,
  sockets: ({ sockets }: Sample) => sockets,
  handles: ({ handles }: Sample) => handles,
};
type Measure = keyof typeof measures;

const pointsOf = (samples: readonly Sample[], of: Measure): Point[] =>
  samples.map((sample) => ({ atMs: sample.atMs, value: measures[of](sample) }));

/** How what the server holds changes in an hour: MiB, and numbers. */
function slopesOf(samples: readonly Sample[]) {
  return {
    rss: slopePerHour(pointsOf(samples, "rss")) / MiB,
    rssOfFiles: slopePerHour(pointsOf(samples, "rssOfFiles")) / MiB,
    held: slopePerHour(pointsOf(samples, "held")) / MiB,
    sockets: slopePerHour(pointsOf(samples, "sockets")),
    handles: slopePerHour(pointsOf(samples, "handles")),
  };
}

function lineOf(samples: readonly Sample[]): string {
  const first = samples[0];
  const last = samples.at(-1);
  if (first === undefined || last === undefined) return "too short for a sample";
  const load = (100 * (last.cpuMs - first.cpuMs)) / (last.atMs - first.atMs);
  const middle = (of: Measure): string => (median(samples.map(measures[of])) / MiB).toFixed(1);
  const files = `and ${middle("rssOfFiles")} MiB of files`;
  const heights = `${load.toFixed(0)} % of a core, RSS ${middle("rss")} MiB ${files}, held ${middle("held")} MiB`;
  if (!isMeasured) return heights;
  const { rss, rssOfFiles, held, sockets, handles } = slopesOf(samples);
  const grown = `RSS ${rss.toFixed(2)} MiB and ${rssOfFiles.toFixed(2)} of files, held ${held.toFixed(2)} MiB, sockets ${sockets.toFixed(1)}, handles ${handles.toFixed(1)}`;
  return `${heights}; in an hour: ${grown}, over ${samples.length} samples`;
}

/** Everybody leaves, and so does what was there for them. */
async function leave(world: World): Promise<void> {
  world.end();
  world.clientRelay.cut();
  const since = (await world.samples()).length;
  await eventually(async () => {
    const now = (await world.samples()).slice(since).at(-1);
    expect(now?.sockets).toBeLessThanOrEqual(world.before.sockets);
    // Some timers are there once there were tasks: of sweeps, and of what the store puts off. Fewer than of what vanished, had that left one each.
    expect(now?.handles).toBeLessThanOrEqual(world.before.handles + 10);
  }, 60_000);
}

test("a server under load and faults holds no more in the end than in the beginning", {
  timeout: totalMs + 300_000,
}, async () => {
  await using world = await openWorld(probeMs, process.env["SOAK_KEEP"]);
  const load = new Load({ ...world, random: new SeededRandom(seed) });
  const { before } = world;
  const ending = new AbortController();
  const part = warmUpMs / warmUpMaxMs;
  const fill = { tasks: fillTasks * part, remoteTasks: fillRemoteTasks * part, withinMs: fillPart * warmUpMs };
  let filledAfterMs = Number.POSITIVE_INFINITY;
  const begunMs = performance.now();
  const over = Promise.all([
    load.run(rate, ending.signal),
    load.fill(fill, ending.signal).then(() => {
      filledAfterMs = performance.now() - begunMs;
    }),
    befall(world, ending.signal),
    watchDisk(world, ending.signal),
  ]);
  await Promise.race([sleep(totalMs), over]);
  // Where the machine has too much to do for the filling to be over in time, what comes after it is as long as it would be.
  const measuredFromMs = Math.max(warmUpMs, filledAfterMs + (1 - fillPart) * warmUpMs);
  const samples = (await world.samples()).filter(({ atMs }) => atMs > before.atMs + measuredFromMs);
  ending.abort();
  const [, , counts, diskMost] = await over;
  const said = [...counts].map(([fault, count]) => `${count} times ${fault}`).join(", ");
  const did = `${load.tasks} tasks to their end, ${load.filled} in the warm-up besides, ${load.brokenOff} calls made again; ${said}`;
  line = `${did}; disk ${(diskMost / MiB).toFixed(1)} MiB at most; ${lineOf(samples)}`;
  expect(load.problems).toEqual([]);
  // What was healed works.
  const healed = load.tasks;
  await load.run(rate, AbortSignal.timeout(2_000));
  expect(load.problems).toEqual([]);
  expect(load.tasks - healed, "tasks after the last fault").toBeGreaterThan(rate / 2);
  await leave(world);
  expect(await world.server.stop(), "the exit code of a stop").toBe(0);
  expect(world.server.complaints, "what the server complained of").toEqual([]);
  // LevelDB's log grows to the size of its write buffer before it becomes a table, however little is live.
  expect(diskMost).toBeLessThan(3 * ((await liveBytes(world.data)) + historyBytes) + logBytes);

  const hours = (totalMs - measuredFromMs) / 3_600_000;
  const slopes = slopesOf(samples);
  const most = { MiB: slopeMaxMiB(hours), number: 5 * slopeMaxMiB(hours) };
  if (isMeasured) {
    expect(filledAfterMs, "milliseconds that it took to fill what fills").toBeLessThan(totalMs / 3);
    if (isFilled) {
      expect(slopes.rss, "MiB of RSS an hour").toBeLessThanOrEqual(most.MiB);
      expect(slopes.held, "MiB held an hour").toBeLessThanOrEqual(most.MiB);
    }
    // One that is left behind by each fault makes 120 an hour.
    expect(slopes.sockets, "sockets an hour").toBeLessThanOrEqual(most.number);
    expect(slopes.handles, "handles an hour").toBeLessThanOrEqual(most.number);
    // On a machine with too much to do each takes a second, and so there are fewer.
    expect(samples.length, "samples").toBeGreaterThan((hours * 3_600_000) / probeMs / 8);
    // A few seconds may have none of one kind.
    for (const [kind, count] of Object.entries(load.counts)) expect(count, kind).toBeGreaterThan(0);
  }
  expect(load.tasks).toBeGreaterThan((rate * totalMs) / 1_000);
  expect(load.brokenOff).toBeGreaterThan(0);
  expect(counts.size, said).toBeGreaterThanOrEqual(isMeasured ? Math.min(6, minutes * 2 - 2) : 1);
});
