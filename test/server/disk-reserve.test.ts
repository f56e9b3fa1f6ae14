import { describe, expect, test } from "vitest";
import { Faults } from "../../src/faults.ts";
import type { Log } from "../../src/log.ts";
import { openDiskReserve } from "../../src/server/disk-reserve.ts";
import { createFakeClock } from "../support/fake-clock.ts";

const mib = 1024 * 1024;

async function openOn(disk: { mib: number; freeMib: number; broken?: boolean }) {
  const clock = createFakeClock();
  const logged: string[] = [];
  const at = (_fields: object, message: string) => void logged.push(message);
  const log: Log = { debug: () => {}, info: at, warn: at, error: at };
  const faults = new Faults({ clock, log });
  const reserve = await openDiskReserve({
    directory: "/store",
    limits: { diskReserveBytes: 256 * mib, diskReservePercent: 5 },
    clock,
    log,
    faults,
    async statfs() {
      if (disk.broken) throw new Error("no such file system");
      return { bsize: mib, blocks: disk.mib, bavail: disk.freeMib };
    },
  });
  return { clock, logged, faults, reserve };
}

describe("the reserve of the disk", () => {
  test.each([
    ["256 MiB of a small disk", 1_000, 256],
    ["5 percent of a large one", 100_000, 5_000],
  ])("is %s: at it launches are taken, below it refused", async (_, size, reserveMib) => {
    expect((await openOn({ mib: size, freeMib: reserveMib })).reserve.refusal()).toBeUndefined();
    for (const freeMib of [reserveMib - 1, Math.floor(reserveMib / 10), 0]) {
      const { reserve } = await openOn({ mib: size, freeMib });
      expect(reserve.refusal()).toMatchObject({
        code: "RESOURCE_EXHAUSTED",
        details: { reason: "LIMIT", metadata: { limit: "disk_reserve_bytes", value: String(reserveMib * mib) } },
      });
      expect(reserve.refusal()?.details.retryDelayMs).toBeGreaterThan(0);
    }
  });

  test("is looked at every 5 s, and what changes is logged once", async () => {
    const disk = { mib: 1_000, freeMib: 500 };
    const { clock, logged, faults, reserve } = await openOn(disk);
    disk.freeMib = 1;
    await clock.advance(5_000);
    expect(reserve.refusal()?.message).toContain("has 1048576 bytes left");
    expect(faults.counts().disk_reserves_reached).toBe(1);
    await clock.advance(10_000);
    disk.freeMib = 400;
    await clock.advance(5_000);
    expect(reserve.refusal()).toBeUndefined();
    expect(logged).toEqual([
      "the disk is nearly full: launches are refused",
      "the disk has room again: launches are taken",
    ]);
    reserve.close();
    expect(clock.pending()).toBe(0);
  });

  test("that the system does not tell refuses nothing", async () => {
    expect((await openOn({ mib: 1_000, freeMib: 0, broken: true })).reserve.refusal()).toBeUndefined();
    expect((await openOn({ mib: 0, freeMib: 0 })).reserve.refusal()).toBeUndefined();
  });
});
