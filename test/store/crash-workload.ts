/** A history of commits that is the same each time, and what a store that has come through a crash must have of it. */
import { expect } from "vitest";
import { crc32c } from "../../src/store/crc32c.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import type { LevelStoreOptions } from "../../src/store/level-options.ts";
import type { Change, Entry, Store, StoreEvent } from "../../src/store/store.ts";
import { createFakeClock, type FakeClock } from "../support/fake-clock.ts";
import { put, WatchReader } from "../../src/store-conformance/harness.ts";
import { Model } from "../../src/store-conformance/model.ts";
import { eventually } from "./level-fixture.ts";

export const crashHistoryMs = 40_000;

/** The n-th commit: every kind of change, keys that are deleted and made again, now and then a value over several blocks of a log. */
export function changesOf(n: number): Change[] {
  const size = n % 9 === 5 ? 70_000 : n % 4 === 1 ? 3_000 : 20;
  return [
    put(`task ${n % 7}`, `value ${n} `.padEnd(size, "\u0001\u0002")),
    ...(n > 1 ? [{ type: "unindex", key: `index ${n - 1}` } as const] : []),
    { type: "index", key: `index ${n}`, value: new Uint8Array(0) },
    { type: "add", key: "count", delta: 1n },
    ...(n % 5 === 4 ? [{ type: "delete", key: `task ${(n + 1) % 7}` } as const] : []),
  ];
}

/** Commits n of them, some alone and some in groups, while time passes: rounds, checkpoints, history let go and collected. */
export async function workOn(store: Store, clock: FakeClock, commits: number): Promise<void> {
  for (let n = 1, groups = 1; n <= commits; groups += 1) {
    const group = Math.min(commits + 1 - n, groups % 3 === 0 ? 3 : 1);
    await Promise.all(Array.from({ length: group }, (_, i) => store.commit(changesOf(n + i))));
    n += group;
    if (groups % 2 === 0) await clock.advance(1_000);
    if (groups % 3 === 0) await clock.advance(crashHistoryMs / 8);
    // A timer is set again when what the last one started is through.
    await eventually(() => clock.pending() > 0);
  }
}

/** Opens what a crash left, checks that it has all of a history that `between` allows, that it goes on, and closes it. */
export async function checkCrashed(
  path: string,
  between: { least: number; most: number },
  options: LevelStoreOptions = {},
): Promise<number> {
  const store = await openLevelStore(path, {
    clock: createFakeClock(),
    historyMs: crashHistoryMs,
    filterKeptMinKeys: 1,
    ...options,
  });
  try {
    const revision = Number(store.revision());
    expect(revision).toBeGreaterThanOrEqual(between.least);
    expect(revision).toBeLessThanOrEqual(between.most);
    await expectHistory(store, revision);
    const next = await store.commit([put("task 0", "after")]);
    expect(next).toBe(BigInt(revision + 1));
    expect(await store.get("task 0")).toMatchObject({ revision: next });
    return revision;
  } finally {
    await store.close();
  }
}

async function expectHistory(store: Store, revision: number): Promise<void> {
  const model = modelAt(revision);
  const now = await store.scan({ prefix: "", limit: 1_000 });
  expect(now.map(show)).toEqual(model.entriesAsOf(undefined, "").map(show));
  for (const { key } of now) expect(await store.get(key), key).toBeDefined();
  const first = store.firstRevision();
  for (const asOf of new Set([first, (first + BigInt(revision)) / 2n])) {
    const entries = await store.scan({ prefix: "", limit: 1_000, revision: asOf });
    expect(entries.map(show)).toEqual(model.entriesAsOf(asOf, "").map(show));
  }
  const expected = model.events.filter((event) => event.revision > first);
  if (expected.length === 0) return;
  const events = await new WatchReader(store, { after: first }).eventsUpTo(BigInt(revision));
  expect(events.map(show)).toEqual(expected.map(show));
}

const models = new Map<number, Model>();

function modelAt(revision: number): Model {
  const known = models.get(revision);
  if (known !== undefined) return known;
  const model = new Model(show);
  for (let n = 1; n <= revision; n += 1) model.apply(BigInt(n), changesOf(n));
  models.set(revision, model);
  return model;
}

/** Without what a crash may change: a key deleted before the first revision may have lost its chain, a counter has its group's revision. */
function show(item: Entry | StoreEvent): string {
  const { key, revision, value } = item;
  const verb = "type" in item && item.type === "delete" ? "delete" : "put";
  const digest = crc32c(value, 0, value.length).toString(16);
  return `${verb} ${key} at ${key === "count" ? "any" : revision}: ${value.length} bytes ${digest}`;
}
