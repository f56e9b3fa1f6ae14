import { cp, mkdir, readdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { describe, expect, test } from "vitest";
import type { CreateLevelDatabase } from "../../src/store/level-database.ts";
import { openLevelStore } from "../../src/store/level-store.ts";
import { numberedKey } from "../../src/store/level-keys.ts";
import { openStore } from "../../src/store/open.ts";
import type { StoreErrorCode } from "../../src/store/store.ts";
import { expectFailure } from "../../src/store-conformance/harness.ts";
import { bytes, contentsOf, crashCopy, entriesOf, FaultyDisk, makeScratch, withDatabase } from "./level-fixture.ts";

/** A store that was closed with two keys in it. */
async function makeClosedStore() {
  const scratch = await makeScratch();
  const store = await openLevelStore(scratch.path);
  await store.commit([{ type: "put", key: "a", value: bytes("one") }]);
  await store.commit([{ type: "put", key: "b", value: bytes("two") }]);
  await store.close();
  return scratch;
}

describe("opening", () => {
  test("makes a store where nothing is, in an empty directory too, and finds it again", async () => {
    await using scratch = await makeScratch();
    const store = await openStore(`level:${scratch.path}`);
    expect(store).toMatchObject({ kind: "level", durability: "sync" });
    await store.commit([{ type: "put", key: "a", value: bytes("one") }]);
    await store.close();
    const again = await openStore(`level:${scratch.path}`);
    expect(await again.get("a")).toMatchObject({ revision: 1n });
    await again.close();
  });

  test("makes the directories on the way", async () => {
    await using scratch = await makeScratch();
    const store = await openLevelStore(join(scratch.path, "one", "two"));
    await store.close();
    expect(await readFile(join(scratch.path, "one", "two", "stint-store.json"), "utf8")).toContain('"format": 1');
  });

  test.each([
    ["where none can be made", "/proc/stint", /^cannot open the store in \/proc\/stint: \w+ \(mkdir\)$/],
    ["in a file", "/dev/null/stint", /^\/dev\/null\/stint cannot be made: what it would be in is not a directory$/],
  ])("of a directory %s fails at once, and says why", async (_where, path, message) => {
    await expect(openLevelStore(path)).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringMatching(message) as unknown,
    });
  });

  const refusals: { what: string; code: StoreErrorCode; spoil: (path: string) => Promise<unknown> }[] = [
    {
      what: "a directory without the marker",
      code: "DAMAGED",
      spoil: (path) => rm(join(path, "stint-store.json")),
    },
    {
      what: "a directory of somebody else",
      code: "DAMAGED",
      spoil: async (path) => {
        await rm(path, { recursive: true });
        await mkdir(path);
        await writeFile(join(path, "thesis.txt"), "mine");
      },
    },
    {
      what: "a file",
      code: "DAMAGED",
      spoil: async (path) => {
        await rm(path, { recursive: true });
        await writeFile(path, "mine");
      },
    },
    { what: "a store without CURRENT", code: "DAMAGED", spoil: (path) => rm(join(path, "db", "CURRENT")) },
    {
      what: "a store without its database",
      code: "DAMAGED",
      spoil: (path) => rm(join(path, "db"), { recursive: true }),
    },
    {
      what: "a store of a newer format",
      code: "DAMAGED",
      spoil: (path) => writeFile(join(path, "stint-store.json"), '{"format": 2, "uuid": "x"}'),
    },
    {
      what: "a marker that is no JSON",
      code: "DAMAGED",
      spoil: (path) => writeFile(join(path, "stint-store.json"), "{"),
    },
    ...[
      '"createTime": "", "state": "ready", "revision": 0',
      '"uuid": "x", "createTime": "", "state": "ready", "revision": "5"',
    ].map((rest) => ({
      what: `a marker that has no more than ${rest}`,
      code: "DAMAGED" as const,
      spoil: (path: string) => writeFile(join(path, "stint-store.json"), `{"format": 1, ${rest}}`),
    })),
    { what: "an empty marker", code: "DAMAGED", spoil: (path) => truncate(join(path, "stint-store.json")) },
  ];
  test.each(refusals)("refuses $what as $code, and changes nothing", async ({ code, spoil }) => {
    await using scratch = await makeClosedStore();
    await spoil(scratch.path);
    const before = await contentsOf(scratch.path);
    await expectFailure(openLevelStore(scratch.path), code);
    expect(await contentsOf(scratch.path)).toEqual(before);
  });

  test("refuses a store that is open in this process as LOCKED by whatever name, and changes nothing", async () => {
    await using scratch = await makeClosedStore();
    const store = await openLevelStore(scratch.path);
    const before = await contentsOf(scratch.path);
    await using elsewhere = await makeScratch();
    await symlink(scratch.path, join(elsewhere.path, "link"));
    for (const name of [scratch.path, relative(".", scratch.path), join(elsewhere.path, "link")]) {
      await expectFailure(openLevelStore(name), "LOCKED");
    }
    expect(await contentsOf(scratch.path)).toEqual(before);
    await store.commit([{ type: "put", key: "c", value: bytes("three") }]);
    await store.close();
    const again = await openLevelStore(scratch.path);
    expect(again.revision()).toBe(3n);
    await again.close();
  });

  test("a making that was cut short is begun anew", async () => {
    await using scratch = await makeScratch();
    const marker = { format: 1, uuid: "x", createTime: "2023-11-14T22:13:20.000Z", state: "creating" };
    await writeFile(join(scratch.path, "stint-store.json"), JSON.stringify(marker));
    await mkdir(join(scratch.path, "db"));
    await writeFile(join(scratch.path, "db", "000001.log"), "half");
    const store = await openLevelStore(scratch.path);
    expect(store.revision()).toBe(0n);
    await store.close();
    expect(JSON.parse(await readFile(join(scratch.path, "stint-store.json"), "utf8"))).toMatchObject({
      state: "ready",
    });
  });

  test("one that was cut short before its marker was there is, too", async () => {
    await using scratch = await makeScratch();
    await writeFile(join(scratch.path, "stint-store.json.new"), "{");
    await mkdir(join(scratch.path, "lock"));
    const store = await openLevelStore(scratch.path);
    await store.close();
    expect((await readdir(scratch.path)).sort()).toEqual(["db", "lock", "stint-store.json"]);
  });

  test.each(["levels:x", "level:", "memory:x", "", "x"])("openStore refuses %j", async (location) => {
    await expectFailure(openStore(location), "INVALID");
  });

  test.each([{ historyMs: 0 }, { roundKeys: -1 }, { unmaterializedMaxBytes: 1.5 }])(
    "refuses the option %j before it touches anything",
    async (options) => {
      await using scratch = await makeScratch();
      const failure = await expectFailure(openLevelStore(join(scratch.path, "x"), options), "INVALID");
      expect(failure.message).toContain(Object.keys(options)[0]);
      expect(await contentsOf(scratch.path)).toEqual({});
    },
  );
});

describe("an opening that finds damage", () => {
  test("refuses a journal with a gap again and again, and changes nothing", async () => {
    await using scratch = await makeScratch();
    const store = await openLevelStore(scratch.path);
    for (const key of ["a", "b", "c"]) await store.commit([{ type: "put", key, value: bytes(key) }]);
    await using crashed = await crashCopy(scratch.path);
    await store.close();
    await withDatabase(crashed.path, (db) =>
      db.batch([{ type: "del", key: numberedKey("journal", 2) }], { sync: true }),
    );
    const before = await contentsOf(crashed.path);
    for (let opening = 0; opening < 2; opening += 1) {
      const failure = await expectFailure(openLevelStore(crashed.path), "DAMAGED");
      expect(failure.message).toContain("gap");
      expect(await contentsOf(crashed.path)).toEqual(before);
    }
  });

  test("refuses a store that is behind where it has been", async () => {
    await using scratch = await makeScratch();
    const first = await openLevelStore(scratch.path);
    await first.commit([{ type: "put", key: "a", value: bytes("one") }]);
    await using old = await crashCopy(scratch.path);
    await first.commit([{ type: "put", key: "a", value: bytes("two") }]);
    await first.close();
    // As when a backup is put back by halves.
    await rm(join(scratch.path, "db"), { recursive: true });
    await cp(join(old.path, "db"), join(scratch.path, "db"), { recursive: true });
    const before = await contentsOf(scratch.path);
    const failure = await expectFailure(openLevelStore(scratch.path), "DAMAGED");
    expect(failure.message).toContain("is at revision 1, and has been at 2");
    expect(await contentsOf(scratch.path)).toEqual(before);
  });

  test("says what is damaged also where the database cannot be closed then", async () => {
    await using scratch = await makeClosedStore();
    const marker = join(scratch.path, "stint-store.json");
    await writeFile(marker, (await readFile(marker, "utf8")).replace('"revision": 2', '"revision": 3'));
    const createDatabase: CreateLevelDatabase = (location, options) => {
      const db = new FaultyDisk().create(location, options);
      const close = async (): Promise<void> => {
        await db.close();
        throw new Error("the disk does not close");
      };
      return { ...db, close };
    };
    const failure = await expectFailure(openLevelStore(scratch.path, { createDatabase }), "DAMAGED");
    expect(failure.message).toContain("is at revision 2, and has been at 3");
  });

  test("forgets a damaged block that is all history, but for those who ask for it", async () => {
    await using scratch = await makeScratch();
    const store = await openLevelStore(scratch.path);
    for (const value of ["one", "two", "three"]) await store.commit([{ type: "put", key: "a", value: bytes(value) }]);
    await store.commit([{ type: "put", key: "b", value: bytes("b") }]);
    await store.close();
    await withDatabase(scratch.path, async (db) => {
      const [key, block] = (await entriesOf(db, "J"))[1]!;
      block[6]! ^= 1;
      await db.batch([{ type: "put", key, value: block }], { sync: true });
    });
    const again = await openLevelStore(scratch.path);
    expect(await again.get("a")).toMatchObject({ revision: 3n });
    expect(await again.get("b", { revision: 4n })).toMatchObject({ revision: 4n });
    await expectFailure(again.get("a", { revision: 2n }), "CORRUPT");
    await again.close();
  });
});
