import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { TaskState, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { numberedKey, valueKey } from "../../src/store/level-keys.ts";
import type { LevelDatabase } from "../../src/store/level-database.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { repairStore, verifyStore } from "../../src/store/maintenance.ts";
import { decodeBlock, recordBytes } from "../../src/store/record.ts";
import { createKVStore } from "../../src/store/task-store.ts";
import { expectFailure } from "../../src/store-conformance/harness.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { entriesOf, makeScratch, withDatabase } from "./level-fixture.ts";

const key = "/tasks/c/bad";

/** Task "bad" goes from Pending (revision 1) to Completed (revision 2); task "good" (3) lies behind it. */
async function makeTasks(path: string): Promise<void> {
  const store = await openLevelStore(path, { clock: createFakeClock() });
  const tasks = createKVStore(store);
  await tasks.put(key, create(TaskStatusSchema, { state: TaskState.Pending }));
  await tasks.put(key, create(TaskStatusSchema, { state: TaskState.Completed }));
  await tasks.put("/tasks/c/good", create(TaskStatusSchema, { state: TaskState.Pending }));
  await store.close();
}

/** The bytes of the record that the first commit has of the task. */
async function firstRecord(db: LevelDatabase): Promise<Buffer> {
  const first = decodeBlock((await db.get(numberedKey("journal", 1)))!, 1)!;
  return recordBytes(first.records.find((record) => record.key === key)!);
}

test.each(["missing", "old"] as const)(
  "a task whose record is %s, by its index entries, is told by verify, and DATA_LOSS after a repair",
  async (state) => {
    await using scratch = await makeScratch();
    const path = join(scratch.path, "store");
    await makeTasks(path);
    await withDatabase(path, async (db) => {
      const old = await firstRecord(db);
      await db.batch(
        [
          { type: "del", key: valueKey(key, 2) },
          { type: "del", key: numberedKey("journal", 2) },
          ...(state === "old"
            ? [{ type: "put" as const, key: valueKey(key, 1), value: old }]
            : [{ type: "del" as const, key: numberedKey("journal", 1) }]),
        ],
        { sync: true },
      );
    });
    const found = await verifyStore(path);
    expect(found).toMatchObject({ isSound: false, damagedTasks: [{ controller: "c", taskId: "bad", state }] });
    const target = join(scratch.path, "repaired");
    const report = await repairStore(path, target, createFakeClock());
    expect(report).toMatchObject({ how: "rebuilt", isComplete: false, damagedTasks: [{ taskId: "bad", state }] });
    expect(report.unendedTasks).toEqual([{ controller: "c", taskId: "good" }]);
    const store = await openLevelStore(target);
    await expectFailure(store.get(key), "CORRUPT");
    expect(await store.get("/tasks/c/good")).toMatchObject({ revision: 3n });
    expect(store.revision()).toBeGreaterThan(1_000_000n);
    expect(store.firstRevision()).toBe(store.revision());
    await store.close();
    expect(await verifyStore(target)).toMatchObject({
      opens: true,
      damagedTasks: [{ taskId: "bad", state: "damaged" }],
    });
  },
);

test("a task of which nothing is left is told by the counters", async () => {
  await using scratch = await makeScratch();
  const path = join(scratch.path, "store");
  await makeTasks(path);
  await withDatabase(path, async (db) => {
    const ofTask = (await entriesOf(db, "V")).filter(([levelKey]) => levelKey.includes("/bad"));
    const gone = [...ofTask.map(([levelKey]) => levelKey), numberedKey("journal", 1), numberedKey("journal", 2)];
    await db.batch(
      gone.map((levelKey) => ({ type: "del" as const, key: levelKey })),
      { sync: true },
    );
    // And something that has a repair rebuild the store.
    await db.batch([{ type: "put", key: numberedKey("checkpoint", 3), value: Buffer.from("x") }], { sync: true });
  });
  const report = await repairStore(path, join(scratch.path, "repaired"), createFakeClock());
  expect(report).toMatchObject({ how: "rebuilt", isComplete: false, damagedTasks: [] });
  expect(report.losses).toContain("there were 2 tasks by the newest counters that are left, and 1 are counted now");
});

test("a table that is missing together with the manifest is told by the journal, and what it had is taken from there", async () => {
  await using scratch = await makeScratch();
  const path = join(scratch.path, "store");
  await makeTasks(path);
  // As where the table with the newest record of the task is gone, and nothing says that there was one.
  await withDatabase(path, async (db) => {
    const old = await firstRecord(db);
    await db.batch(
      [
        { type: "del", key: valueKey(key, 2) },
        { type: "put", key: valueKey(key, 1), value: old },
      ],
      { sync: true },
    );
  });
  const names = await readdir(join(path, "db"));
  await rm(join(path, "db", names.find((name) => name.startsWith("MANIFEST"))!));
  const target = join(scratch.path, "repaired");
  expect(await repairStore(path, target, createFakeClock())).toMatchObject({ how: "rebuilt", damagedTasks: [] });
  const store = await openLevelStore(target);
  expect(await store.get(key)).toMatchObject({ revision: 2n });
  await store.close();
});
