/** Stores that go on from copies of themselves, as where an upgrade is undone: FILTER_COURSES is how many (default 3), FILTER_SEED what they do. */
import { expect, test } from "vitest";
import type { BackedUpStore } from "../../src/store/level-store.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { historyMs, openKept, type Opened } from "./kept-filter-fixture.ts";
import { bytes, crashCopy, eventually, makeScratch, type Scratch, untilFilled } from "./level-fixture.ts";

const courses = Number(process.env["FILTER_COURSES"] ?? 3);
const seed = Number(process.env["FILTER_SEED"] ?? Math.floor(Math.random() * 2 ** 32));

test(`stores that go on from copies of themselves find what they have, and only that (seed ${seed})`, async () => {
  for (let course = 0; course < courses; course += 1) await followCourse(new SeededRandom(seed + course));
}, 600_000);

interface Course {
  readonly scratch: Scratch;
  readonly keys: Set<string>;
}

/** Commits, deletions, crashes, closings, time and setting back to what there was, at random. */
async function followCourse(random: SeededRandom): Promise<void> {
  const kept: Course[] = [{ scratch: await makeScratch(), keys: new Set() }];
  try {
    for (let step = 0; step < 8; step += 1) {
      const { scratch, keys } = random.pick(kept);
      const next: Course = { scratch: await crashCopy(scratch.path), keys: new Set(keys) };
      kept.push(next);
      const opened = await openKept(next.scratch.path, random.chance(0.85) ? 1 : 1_000_000, {
        filterKeptEveryMs: random.pick([1, 900_000]),
      });
      await checkKeys(opened.store, next.keys);
      for (let commits = random.int(1, 6); commits > 0; commits -= 1) await commitSome(random, opened, next.keys);
      await checkKeys(opened.store, next.keys);
      if (random.chance(0.5)) {
        const crashed = { scratch: await crashCopy(next.scratch.path), keys: new Set(next.keys) };
        kept.push(crashed);
      }
      await opened.store.close();
    }
    for (const { scratch, keys } of kept) {
      const opened = await openKept(scratch.path);
      await untilFilled(opened.store, opened.disk);
      await opened.store.commit([{ type: "put", key: "/round", value: bytes("") }]);
      await opened.clock.advance(1_000);
      await eventually(() => opened.disk.written.some((letters) => letters.includes("W")));
      await checkKeys(opened.store, keys);
      await opened.store.close();
    }
  } finally {
    for (const { scratch } of kept) await scratch[Symbol.asyncDispose]();
  }
}

async function commitSome(random: SeededRandom, { store, clock }: Opened, keys: Set<string>): Promise<void> {
  const changed = new Set(Array.from({ length: random.int(1, 40) }, () => `/key/${random.int(0, 400)}`));
  await store.commit(
    [...changed].map((key) => {
      const isDeleted = keys.has(key) && random.chance(0.4);
      if (isDeleted) keys.delete(key);
      else keys.add(key);
      return isDeleted ? { type: "delete", key } : { type: "put", key, value: bytes(key) };
    }),
  );
  if (random.chance(0.7)) await clock.advance(1_000);
  if (random.chance(0.4)) await clock.advance(historyMs / 8);
  if (random.chance(0.1)) for (let i = 0; i < 10; i += 1) await clock.advance(historyMs / 8);
  for (let turns = random.int(0, 30); turns > 0; turns -= 1) await new Promise(setImmediate);
}

async function checkKeys(store: BackedUpStore, keys: ReadonlySet<string>): Promise<void> {
  for (let i = 0; i <= 400; i += 1) {
    const key = `/key/${i}`;
    expect((await store.get(key)) !== undefined, key).toBe(keys.has(key));
  }
}
