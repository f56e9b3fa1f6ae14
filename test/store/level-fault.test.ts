import { rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openLevelStore } from "../../src/store/level-store.ts";
import type { LevelOperation } from "../../src/store/level-database.ts";
import type { Store } from "../../src/store/store.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { expectFailure, failureOf, WatchReader } from "../../src/store-conformance/harness.ts";
import { bytes, eventually, FaultyDisk, makeScratch } from "./level-fixture.ts";

async function openFaulty() {
  const scratch = await makeScratch();
  const disk = new FaultyDisk();
  const clock = createFakeClock();
  const store = await openLevelStore(scratch.path, { clock, createDatabase: disk.create });
  const dispose = async () => {
    disk.release();
    await store.close();
    await scratch[Symbol.asyncDispose]();
  };
  return { scratch, disk, clock, store, [Symbol.asyncDispose]: dispose };
}

function isJournal(operations: LevelOperation[]): boolean {
  return operations[0]?.key[0] === "J".charCodeAt(0);
}

function put(store: Store, key: string, value: string): Promise<bigint> {
  return store.commit([{ type: "put", key, value: bytes(value) }]);
}

describe("a write that fails", () => {
  test.each([
    { fate: "fail before", applied: false },
    { fate: "fail after", applied: true },
  ] as const)("($fate) may have been applied; reopening settles it", async ({ fate, applied }) => {
    await using faulty = await openFaulty();
    const { store, disk } = faulty;
    await put(store, "before", "one");
    const begun = new Promise<void>((resolve) => {
      disk.fateOf = () => {
        resolve();
        return fate;
      };
    });
    // The first is alone in its group, the others wait behind it.
    const doomed = failureOf(put(store, "doomed", "two"));
    await begun;
    const behind = failureOf(put(store, "behind", "three"));
    expect(await doomed).toMatchObject({ code: "UNAVAILABLE", applied: "maybe" });
    expect(await behind).toMatchObject({ code: "UNAVAILABLE", applied: "no" });

    for (const call of [
      () => store.get("before"),
      () => store.get("before", { revision: 1n }),
      () => store.scan({ prefix: "", limit: 9 }),
      () => put(store, "after", "four"),
    ]) {
      expect(await expectFailure(call(), "UNAVAILABLE")).toMatchObject({ applied: "no" });
    }
    expect(store.revision()).toBe(1n);

    disk.fateOf = () => "write";
    await store.reopen();
    expect(store.revision()).toBe(applied ? 2n : 1n);
    expect((await store.get("doomed")) !== undefined).toBe(applied);
    expect(await store.get("before")).toMatchObject({ revision: 1n });
    expect(await store.get("behind")).toBeUndefined();
    expect(await put(store, "after", "four")).toBe(applied ? 3n : 2n);
  });

  test("lets nothing pass that was asked for while it was under way: LevelDB might drop that later", async () => {
    await using faulty = await openFaulty();
    const { store, disk, clock } = faulty;
    await put(store, "a", "one");
    let rounds = 0;
    disk.fateOf = (operations) => {
      if (isJournal(operations)) return "write";
      rounds += 1;
      return "hang and fail";
    };
    await clock.advance(1_000);
    await eventually(() => rounds === 1);
    const behind = failureOf(put(store, "b", "two"));
    for (let turn = 0; turn < 100; turn += 1) await new Promise(setImmediate);
    disk.release();
    expect(await behind).toMatchObject({ code: "UNAVAILABLE", applied: "no" });
    disk.fateOf = () => "write";
    await store.reopen();
    expect(await store.get("b")).toBeUndefined();
    expect(await store.get("a")).toMatchObject({ revision: 1n });
  });

  test("is told to the losers of its group, too: they lost to what may not be", async () => {
    await using faulty = await openFaulty();
    const { store, disk } = faulty;
    disk.fateOf = () => "fail before";
    const condition = [{ key: "a", revision: 0n }];
    const change = { type: "put", key: "a", value: bytes("a") } as const;
    const both = [store.commit([change], condition), store.commit([change], condition)].map(failureOf);
    expect(await Promise.all(both)).toMatchObject([
      { code: "UNAVAILABLE", applied: "maybe" },
      { code: "UNAVAILABLE", applied: "no" },
    ]);
  });

  test("does not end watches that wait: they see what turns out to be applied, and go on", async () => {
    await using faulty = await openFaulty();
    const { store, disk } = faulty;
    await put(store, "a", "one");
    const watch = new WatchReader(store, { after: 1n });
    const next = watch.next();
    disk.fateOf = () => "fail after";
    await failureOf(put(store, "a", "two"));
    disk.fateOf = () => "write";
    await store.reopen();
    expect(await next).toMatchObject([{ key: "a", revision: 2n }]);
    await put(store, "a", "three");
    expect(await watch.next()).toMatchObject([{ key: "a", revision: 3n }]);
  });

  test("of a round fences the store as well, and reopening loses nothing", async () => {
    for (const fate of ["fail before", "fail after"] as const) {
      await using faulty = await openFaulty();
      const { store, disk, clock } = faulty;
      await put(store, "a", "one");
      await put(store, "b", "two");
      disk.fateOf = (operations) => (isJournal(operations) ? "write" : fate);
      await clock.advance(1_000);
      await eventually(() => disk.failures === 1);
      await new Promise(setImmediate);
      await expectFailure(put(store, "c", "three"), "UNAVAILABLE");
      disk.fateOf = () => "write";
      await store.reopen();
      expect((await store.scan({ prefix: "", limit: 9 })).map(({ revision }) => revision)).toEqual([1n, 2n]);
      await store.commit([{ type: "delete", key: "a" }]);
      await clock.advance(1_000);
      expect((await store.scan({ prefix: "", limit: 9 })).map(({ key }) => key)).toEqual(["b"]);
    }
  });
});

describe("a write that hangs", () => {
  test("holds up commits, and neither reads nor watches", async () => {
    await using faulty = await openFaulty();
    const { store, disk } = faulty;
    await put(store, "a", "one");
    let hanging = false;
    disk.fateOf = () => {
      hanging = true;
      return "hang";
    };
    const hung = put(store, "a", "two");
    await eventually(() => hanging);
    expect(await store.get("a")).toMatchObject({ revision: 1n });
    expect(await new WatchReader(store).next()).toMatchObject([{ revision: 1n }]);
    expect(store.revision()).toBe(1n);
    disk.fateOf = () => "write";
    disk.release();
    expect(await hung).toBe(2n);
  });
});

describe("reopening", () => {
  test("that fails can be tried again, and the first that succeeds serves", async () => {
    await using faulty = await openFaulty();
    const { store, disk } = faulty;
    await put(store, "a", "one");
    disk.fateOf = () => "fail before";
    await failureOf(put(store, "a", "two"));
    disk.fateOf = () => "write";
    disk.opens = () => false;
    for (let i = 0; i < 3; i += 1) {
      await expectFailure(store.reopen(), "UNAVAILABLE");
      await expectFailure(store.get("a"), "UNAVAILABLE");
      expect(store.revision()).toBe(1n);
    }
    disk.opens = () => true;
    await Promise.all([store.reopen(), store.reopen()]);
    expect(await store.get("a")).toMatchObject({ revision: 1n });
  });

  test("refuses a disk that has lost what was acknowledged", async () => {
    await using faulty = await openFaulty();
    const { store, disk, scratch } = faulty;
    await put(store, "a", "one");
    disk.fateOf = () => "fail before";
    await failureOf(put(store, "a", "two"));
    disk.fateOf = () => "write";
    await rm(scratch.path, { recursive: true });
    const failure = await expectFailure(store.reopen(), "UNAVAILABLE");
    expect(failure.cause).toMatchObject({ code: "DAMAGED" });
  });

  test("that comes too late for close leaves nothing open", async () => {
    await using faulty = await openFaulty();
    const { store, disk, scratch, clock } = faulty;
    await put(store, "a", "one");
    disk.fateOf = () => "fail before";
    await failureOf(put(store, "a", "two"));
    disk.fateOf = () => "write";
    const reopened = failureOf(store.reopen());
    await store.close();
    expect((await reopened).code).toBe("UNAVAILABLE");
    expect(clock.pending()).toBe(0);
    const again = await openLevelStore(scratch.path);
    expect(await again.get("a")).toMatchObject({ revision: 1n });
    await again.close();
  });
});

test("closing a store whose disk has failed leaves nothing open", async () => {
  await using faulty = await openFaulty();
  const { store, disk, scratch, clock } = faulty;
  await put(store, "a", "one");
  disk.fateOf = () => "fail before";
  await failureOf(put(store, "a", "two"));
  await store.close();
  expect(clock.pending()).toBe(0);
  const again = await openLevelStore(join(scratch.path));
  expect(again.revision()).toBe(1n);
  await again.close();
});

test("what waits to be materialized is bounded: commits wait for a round that hangs", async () => {
  await using scratch = await makeScratch();
  const disk = new FaultyDisk();
  const store = await openLevelStore(scratch.path, {
    clock: createFakeClock(),
    createDatabase: disk.create,
    unmaterializedMaxKeys: 10,
    groupMaxCommits: 1,
  });
  disk.fateOf = (operations) => (isJournal(operations) ? "write" : "hang");
  let done = 0;
  const commits = Array.from({ length: 30 }, (_, i) => put(store, `${i}`, "x").then(() => (done += 1)));
  await eventually(() => done === 10);
  for (let i = 0; i < 1_000; i += 1) await new Promise(setImmediate);
  expect(done).toBe(10);
  disk.fateOf = () => "write";
  disk.release();
  await Promise.all(commits);
  expect(await store.scan({ prefix: "", limit: 99 })).toHaveLength(30);
  await store.close();
});
