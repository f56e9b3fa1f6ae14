/**
 * A watcher that is cut off after any message and goes on by the revision of that message sees each transition once
 * and in order, and each log entry once.
 *
 * WATCH_CUT_HISTORIES: how many random histories (default 60). From 100 on they are looked at from every revision of the task, and not from each third.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { TaskChange } from "../../src/controller/controller.ts";
import { isEnded, stateName } from "../../src/task/state.ts";
import { controllerName, type Harness, openHarness } from "../support/controller-harness.ts";
import { readVersions, transitionsAfter, type Version } from "../support/task-history.ts";
import { Puller, seqsOf, Watching } from "../support/watching.ts";
import { steps, take } from "./watch-cut-steps.ts";

const histories = Number(process.env["WATCH_CUT_HISTORIES"] ?? 60);
const stride = histories < 100 ? 3 : 1;

/** The transitions among the messages, as transitionsAfter writes them. */
function transitionsOf(changes: readonly TaskChange[], versions: readonly Version[]): string[] {
  const made = new Set(versions.filter(({ record }) => record.isTransition).map(({ revision }) => revision));
  return changes
    .filter(({ status, revision }) => status !== undefined && made.has(revision))
    .map(({ status, revision }) => `${revision} ${stateName(status?.state ?? 0)}`);
}

/** What came of a watch that is read until it ends, or as far as there is anything to say. */
async function readAll(h: Harness, since: bigint): Promise<TaskChange[]> {
  const leaving = new AbortController();
  const options = { sinceRevision: since, includeLogs: true, waitForLaunch: true, signal: leaving.signal };
  const watching = new Watching(h.controller.watchTask("a", options));
  await h.settle();
  await h.clock.advance(200);
  leaving.abort();
  await watching.over;
  expect(watching.error).toBeUndefined();
  return watching.changes.filter(({ status, logs }) => status !== undefined || logs.length > 0);
}

/** The first `count` messages of a watch that say something. */
async function readSome(h: Harness, since: bigint, count: number): Promise<TaskChange[]> {
  const all: TaskChange[] = [];
  const puller = new Puller(
    h.controller.watchTask("a", { sinceRevision: since, includeLogs: true, waitForLaunch: true }),
  );
  while (all.length < count && (await puller.next()) !== undefined) {
    const change = puller.changes.at(-1);
    if (change !== undefined && (change.status !== undefined || change.logs.length > 0)) all.push(change);
  }
  await puller.leave();
  return all;
}

/** A history of everything that happens to a task; "another" is there so that since = 1 is before it. */
async function tell(h: Harness): Promise<void> {
  await h.launch("another");
  const held = async () => h.runner.phase("a");
  await h.launch("a", { metadata: { text: "m".repeat(2_000) } });
  for (let step = 1; step <= 3; step += 1) {
    const phase = await held();
    await Promise.all([
      phase.task.setProgress({ current: step, total: 9 }),
      phase.task.addLogEntry("info", `step ${step}`),
    ]);
    await phase.task.addLogEntry("warn", `after step ${step}`);
  }
  await h.launch("a");
  (await held()).stop();
  await (await held()).task.addLogEntry("info", "of the second run");
  await h.reopen();
  await (await held()).task.setProgress({ current: 5, total: 9 });
  await h.crash();
  const { task } = await held();
  await Promise.all([1, 2, 3].map((i) => task.addLogEntry("info", `${i} ${"x".repeat(16_000)}`)));
  (await held()).throw(new Error("the first end"));
  await h.settle();
  await h.launch("a");
  await (await held()).task.addLogEntry("info", "of the third run");
  (await held()).return({ text: "r".repeat(2_000) });
  await h.settle();
  (await h.runner.phase("another")).return();
  await h.settle();
}

test("cut off after every message, and after none, over restarts, a crash and a relaunch", async () => {
  await using h = await openHarness();
  await tell(h);
  const all = await readVersions(h.disk, controllerName, "a");
  const versions = all.flatMap(({ version }) => version ?? []);
  const first = await readAll(h, 1n);
  const rest = await readAll(h, first.at(-1)?.revision ?? 0n);
  const whole = [...first, ...rest];
  expect(whole.length).toBeGreaterThan(11);
  expect(transitionsOf(whole, versions)).toEqual([
    ...transitionsAfter(all, 1n),
    ...transitionsAfter(all, first.at(-1)?.revision ?? 0n),
  ]);
  expect(seqsOf(whole)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
  let cuts = 0;
  for (let at = 0; at < first.length; at += 1) {
    const before = at === 0 ? [] : await readSome(h, 1n, at);
    const after = await readAll(h, before.at(-1)?.revision ?? 1n);
    const resumed = [...before, ...after];
    expect(transitionsOf(resumed, versions), `cut after ${at}`).toEqual(transitionsAfter(all, 1n));
    expect(seqsOf(resumed), `cut after ${at}`).toEqual(seqsOf(first));
    expect(isEnded(resumed.at(-1)?.status?.state ?? 0)).toBe(true);
    cuts += 1;
  }
  expect(cuts).toBeGreaterThan(8);
});

test("from every revision that there ever was", async () => {
  await using h = await openHarness();
  await tell(h);
  const all = await readVersions(h.disk, controllerName, "a");
  const versions = all.flatMap(({ version }) => version ?? []);
  const last = versions.at(-1);
  for (let since = 1n; since <= (last?.revision ?? 0n); since += 1n) {
    const changes = await readAll(h, since);
    expect(transitionsOf(changes, versions), `since ${since}`).toEqual(transitionsAfter(all, since));
    const seqThen = versions.filter(({ revision }) => revision <= since).at(-1)?.record.logLastSeq ?? 0n;
    expect(seqsOf(changes)[0] ?? Number(seqThen) + 1, `since ${since}`).toBe(Number(seqThen) + 1);
  }
});

/** A client that leaves after so many messages, again and again, and comes back where it was. */
class RestlessClient {
  readonly since: bigint;
  readonly changes: TaskChange[] = [];
  readonly done: Promise<void>;
  connections = 0;
  isLeaving = false;
  #position: bigint;
  #cut: () => void = () => {};
  readonly #stay: readonly number[];
  readonly #h: Harness;

  constructor(h: Harness, stay: readonly number[]) {
    this.since = h.disk.revision();
    this.#position = this.since;
    this.#h = h;
    this.#stay = stay;
    this.done = this.#run();
  }

  /** The connection breaks: what is under way is lost. */
  cut(): void {
    this.#cut();
  }

  async #run(): Promise<void> {
    while (!this.isLeaving) {
      const count = this.#stay[this.connections % this.#stay.length] ?? 1;
      this.connections += 1;
      await this.#connect(count);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async #connect(count: number): Promise<void> {
    const broken = new Promise<"cut">((resolve) => {
      this.#cut = () => resolve("cut");
    });
    try {
      const options = { sinceRevision: this.#position, includeLogs: true, waitForLaunch: true };
      const puller = new Puller(this.#h.controller.watchTask("a", options));
      for (let taken = 0; taken < count && !this.isLeaving; ) {
        const next = await Promise.race([puller.next(), broken]);
        if (next === "cut") return;
        const change = puller.changes.at(-1);
        if (next === undefined || change === undefined) break;
        expect(change.revision).toBeGreaterThanOrEqual(this.#position);
        this.#position = change.revision;
        if (next === "bookmark") continue;
        this.changes.push(change);
        taken += 1;
      }
      await puller.leave();
    } catch (error) {
      if ((error as { code?: string }).code !== "UNAVAILABLE") throw error;
    }
  }
}

/** The seqs that a client which began at `since` must see: those after it of the generation then, and all of later ones. */
function expectedSeqs(versions: readonly Version[], since: bigint): number[] {
  const seqs: number[] = [];
  let generation = "";
  let last = 0n;
  for (const { revision, record } of versions) {
    if (record.generation !== generation) last = 0n;
    generation = record.generation;
    for (let seq = last + 1n; seq <= record.logLastSeq; seq += 1n) if (revision > since) seqs.push(Number(seq));
    last = record.logLastSeq;
  }
  return seqs;
}

test("in random histories of runs, logs, cancels, relaunches, deletions, closings and crashes", {
  timeout: 600_000,
}, async () => {
  const counts = { transitions: 0, entries: 0, connections: 0, resumed: 0 };
  const property = fc.asyncProperty(
    fc.array(fc.constantFrom(...steps), { minLength: 5, maxLength: 30 }),
    fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 5 }),
    async (history, stay) => {
      await using h = await openHarness();
      await h.launch("another");
      const clients = [new RestlessClient(h, stay)];
      await take(h, "launch");
      for (const [i, step] of history.entries()) {
        if (step === "crash") for (const client of clients) client.cut();
        await take(h, step);
        if (i === 4) clients.push(new RestlessClient(h, [...stay].reverse()));
      }
      await h.clock.advance(300);
      for (const client of clients) {
        client.isLeaving = true;
        client.cut();
        await client.done;
      }
      const all = await readVersions(h.disk, controllerName, "a");
      const versions = all.flatMap(({ version }) => version ?? []);
      for (const { since, changes, connections } of clients) {
        const made = versions.filter(({ record, revision }) => record.isTransition && revision > since);
        const expected = made.map(({ revision, status }) => `${revision} ${stateName(status.state)}`);
        expect(transitionsOf(changes, versions)).toEqual(expected);
        expect(seqsOf(changes)).toEqual(expectedSeqs(versions, since));
        counts.transitions += expected.length;
        counts.entries += seqsOf(changes).length;
        counts.connections += connections;
      }
      // And by whoever comes afterwards, from anywhere.
      for (let i = 0; i < versions.length; i += stride) {
        const since = versions[i]?.revision ?? 1n;
        const seen = transitionsOf(await readAll(h, since), versions);
        // Of several tasks of the id that came and went since, and of which none is left, nothing need be found.
        const deletions = all.filter(({ version, revision }) => version === undefined && revision > since);
        const isGone = all.at(-1)?.version === undefined && deletions.length > 1;
        if (!isGone || seen.length > 0) expect(seen).toEqual(transitionsAfter(all, since));
        counts.resumed += 1;
      }
      h.runner.held("another")?.return();
      h.runner.held("a")?.return();
    },
  );
  await fc.assert(property, { numRuns: histories });
  expect(counts.transitions).toBeGreaterThan(histories * 5);
  expect(counts.entries).toBeGreaterThan(histories);
  expect(counts.connections).toBeGreaterThan(histories * 5);
  expect(counts.resumed).toBeGreaterThan(histories);
  const { transitions, entries, connections, resumed } = counts;
  process.stderr.write(
    `watch cuts: ${histories} histories: ${transitions} transitions and ${entries} entries over ${connections} connections, and from ${resumed} revisions; none missing, none twice\n`,
  );
});
