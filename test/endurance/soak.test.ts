/**
 * `stint serve` in a process of its own, under a load that it can carry for ever, with something going wrong every 30 s: what it holds must not grow.
 *
 * SOAK_MINUTES: how long (default 0.05; with less than 2 only that everything is right, and nothing left open, is checked). SOAK_RATE: how many things are begun
 * a second (default 20); SOAK_SEED: what they go by; printed. Warm-up is a third of the time, and 15 minutes at most. The server is one process from the first
 * sample to the last: its restarts have tests of their own. Needs dist/ (npm run build).
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
/** Shorter than that nothing can be said of what is held. */
const isMeasured = minutes >= 2;
const warmUpMs = Math.min(totalMs / 3, 15 * 60_000);
const probeMs = isMeasured ? 5_000 : 500;
const faultEveryMs = Math.min(30_000, totalMs / 4);
const MiB = 1024 * 1024;

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

const pointsOf = (samples: readonly Sample[], of: "rss" | "held" | "sockets" | "handles"): Point[] =>
  samples.map((sample) => ({ atMs: sample.atMs, value: sample[of] }));

/** How what the server holds changes in an hour: MiB, and numbers. */
function slopesOf(samples: readonly Sample[]) {
  return {
    rss: slopePerHour(pointsOf(samples, "rss")) / MiB,
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
  const middle = (of: "rss" | "held"): string => (median(samples.map((sample) => sample[of])) / MiB).toFixed(1);
  const heights = `${load.toFixed(0)} % of a core, RSS ${middle("rss")} MiB, held ${middle("held")} MiB`;
  if (!isMeasured) return heights;
  const { rss, held, sockets, handles } = slopesOf(samples);
  const grown = `RSS ${rss.toFixed(2)} MiB, held ${held.toFixed(2)} MiB, sockets ${sockets.toFixed(1)}, handles ${handles.toFixed(1)}`;
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
  await using world = await openWorld(probeMs);
  const random = new SeededRandom(seed);
  const load = new Load({ clients: world.clients, random, remoteMetadata: world.remoteMetadata });
  const { before } = world;
  const ending = new AbortController();
  const over = Promise.all([
    load.run(rate, ending.signal),
    befall(world, ending.signal),
    watchDisk(world, ending.signal),
  ]);
  await Promise.race([sleep(totalMs), over]);
  const samples = (await world.samples()).filter(({ atMs }) => atMs > before.atMs + warmUpMs);
  ending.abort();
  const [, counts, diskMost] = await over;
  const said = [...counts].map(([fault, count]) => `${count} times ${fault}`).join(", ");
  const did = `${load.tasks} tasks to their end, ${load.brokenOff} calls made again; ${said}`;
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
  expect(diskMost).toBeLessThan(3 * ((await liveBytes(world.data)) + historyBytes));

  const hours = (totalMs - warmUpMs) / 3_600_000;
  const slopes = slopesOf(samples);
  const most = { MiB: slopeMaxMiB(hours), number: 5 * slopeMaxMiB(hours) };
  if (isMeasured) {
    expect(slopes.rss, "MiB of RSS an hour").toBeLessThanOrEqual(most.MiB);
    expect(slopes.held, "MiB held an hour").toBeLessThanOrEqual(most.MiB);
    // One that is left behind by each fault makes 120 an hour.
    expect(slopes.sockets, "sockets an hour").toBeLessThanOrEqual(most.number);
    expect(slopes.handles, "handles an hour").toBeLessThanOrEqual(most.number);
    expect(samples.length, "samples").toBeGreaterThan((hours * 3_600_000) / probeMs / 2);
    // A few seconds may have none of one kind.
    for (const [kind, count] of Object.entries(load.counts)) expect(count, kind).toBeGreaterThan(0);
  }
  expect(load.tasks).toBeGreaterThan((rate * totalMs) / 1_000);
  expect(load.brokenOff).toBeGreaterThan(0);
  expect(counts.size, said).toBeGreaterThanOrEqual(isMeasured ? Math.min(6, minutes * 2 - 2) : 1);
});
