import { describe, expect, test } from "vitest";
import { openMemoryStore } from "../../src/store/memory.ts";
import type { Change } from "../../src/store/store.ts";
import { describeStore } from "../store/conformance.ts";
import { type DiskFault, type DiskPorts, SimDisk, soundDisk } from "./sim-disk.ts";

const alive = { isDead: false };

describeStore("the simulated disk, while nothing fails", async (options) => {
  const disk = new SimDisk(await openMemoryStore(options));
  return {
    store: disk.open(alive),
    reopenFresh: async () => {
      disk.crash("power");
      return disk.open(alive);
    },
  };
});

const put = (key: string): Change[] => [{ type: "put", key, value: Buffer.from(key) }];

async function createDisk(ports: Partial<DiskPorts>): Promise<SimDisk> {
  return new SimDisk(await openMemoryStore(), { ...soundDisk, ...ports });
}

function faults(...planned: DiskFault[]): Partial<DiskPorts> {
  return { nextFault: () => planned.shift() };
}

describe("the simulated disk", () => {
  test.each([
    ["refused", "no", false],
    ["lost", "maybe", false],
    ["hang", "maybe", false],
    ["full", "maybe", false],
    ["applied", "maybe", true],
  ] as const)("a commit that is %s says %s, and all is UNAVAILABLE until it is opened again", async (...row) => {
    const [fault, applied, isThere] = row;
    const store = (await createDisk(faults(fault))).open(alive);
    await expect(store.commit(put("a"))).rejects.toMatchObject({ code: "UNAVAILABLE", applied });
    await expect(store.get("a")).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await expect(store.commit(put("b"))).rejects.toMatchObject({ code: "UNAVAILABLE", applied: "no" });
    expect(store.revision()).toBe(0n);
    await store.reopen();
    expect((await store.get("a")) !== undefined).toBe(isThere);
    expect(await store.commit(put("b"))).toBe(isThere ? 2n : 1n);
  });

  test.each([0, 1, 2, 3])("a power cut leaves the first %s of three commits that were not synced", async (kept) => {
    const disk = await createDisk({
      choose: () => kept,
      delay: (_, work) => (work === "sync" ? new Promise(() => {}) : Promise.resolve()),
    });
    const dying = { isDead: false };
    const store = disk.open(dying);
    for (const key of ["a", "b", "c"]) void store.commit(put(key));
    await new Promise((resolve) => setImmediate(resolve));
    expect(store.revision()).toBe(0n);
    dying.isDead = true;
    expect(disk.crash("power")).toBe(3 - kept);
    expect((await disk.synced.scan({ prefix: "", limit: 10 })).map(({ key }) => key)).toEqual(
      ["a", "b", "c"].slice(0, kept),
    );
  });

  test("what was written outlives its process, and what was not does not", async () => {
    const disk = await createDisk({
      delay: (_, work) => (work === "read" ? Promise.resolve() : new Promise(() => {})),
    });
    void disk.open({ isDead: false }).commit(put("a"));
    await new Promise((resolve) => setImmediate(resolve));
    disk.crash("process");
    expect(disk.synced.revision()).toBe(0n);
  });

  test("a value that is damaged is CORRUPT, marked in a list, and sound again once it is written anew", async () => {
    const disk = await createDisk({});
    const store = disk.open(alive);
    disk.rot("a", await store.commit(put("a")));
    await expect(store.get("a")).rejects.toMatchObject({ code: "CORRUPT", key: "a" });
    expect(await store.scan({ prefix: "", limit: 1 })).toMatchObject([{ key: "a", corrupt: true }]);
    await store.commit(put("a"));
    expect(await store.get("a")).toMatchObject({ key: "a" });
  });

  test("a full disk cannot be opened again until there is room", async () => {
    const disk = await createDisk({});
    const store = disk.open(alive);
    disk.isFull = true;
    await expect(store.commit(put("a"))).rejects.toMatchObject({ applied: "maybe" });
    await expect(store.reopen()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    disk.isFull = false;
    await store.reopen();
    expect(await store.commit(put("a"))).toBe(1n);
  });
});
