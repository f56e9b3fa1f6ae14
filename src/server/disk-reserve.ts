/**
 * How much room the disk of the store has. Below the reserve launches are refused,
 * before the disk is full: what runs already can still store its progress and its end.
 *
 * It owns one timer.
 *
 * 1. What `refusal` says is at most `checkMs` old.
 * 2. Where the system does not tell, nothing is refused: the store says itself when it is full.
 */
import { statfs as statfsOfSystem } from "node:fs/promises";
import type { Clock } from "../clock.ts";
import { type ControllerError, limitError } from "../controller/error.ts";
import type { Faults } from "../faults.ts";
import type { Log } from "../log.ts";

export interface DiskReserve {
  /** Why launches are refused just now: RESOURCE_EXHAUSTED with RetryInfo; undefined while there is room. */
  refusal(): ControllerError | undefined;
  close(): void;
}

export interface DiskReserveOptions {
  readonly directory: string;
  /** The reserve is the larger of the two: so many bytes, and so many percent of the disk. */
  readonly limits: { readonly diskReserveBytes: number; readonly diskReservePercent: number };
  readonly clock: Clock;
  readonly log: Log;
  readonly faults: Faults;
  /** Default: asks the system. */
  readonly statfs?: (directory: string) => Promise<{ bsize: number; blocks: number; bavail: number }>;
}

const checkMs = 5_000;

/** Resolves when the disk was looked at for the first time. */
export async function openDiskReserve(options: DiskReserveOptions): Promise<DiskReserve> {
  const { directory, limits, clock, log, faults, statfs = statfsOfSystem } = options;
  let refusal: ControllerError | undefined;
  let cancelTimer = (): void => {};
  let closed = false;

  async function check(): Promise<void> {
    try {
      const { bsize, blocks, bavail } = await statfs(directory);
      if (blocks === 0) throw new Error("the file system does not say how large it is");
      const reserveBytes = Math.max(
        limits.diskReserveBytes,
        Math.ceil((bsize * blocks * limits.diskReservePercent) / 100),
      );
      judge(bsize * bavail, reserveBytes);
    } catch (error) {
      log.debug({ err: error, directory }, "how much room the disk has cannot be told");
      refusal = undefined;
    }
    if (!closed) cancelTimer = clock.after(checkMs, () => void check());
  }

  function judge(freeBytes: number, reserveBytes: number): void {
    const wasRefused = refusal !== undefined;
    const message = `the disk of the store has ${freeBytes} bytes left, and keeps ${reserveBytes} for the tasks that are there`;
    const isLow = freeBytes < reserveBytes;
    refusal = isLow ? limitError("disk_reserve_bytes", reserveBytes, message, 2 * checkMs) : undefined;
    const fields = { directory, freeBytes, reserveBytes };
    if (isLow && !wasRefused)
      faults.note("disk_reserves_reached", fields, "the disk is nearly full: launches are refused");
    if (!isLow && wasRefused) log.info(fields, "the disk has room again: launches are taken");
  }

  await check();
  return {
    refusal: () => refusal,
    close() {
      closed = true;
      cancelTimer();
    },
  };
}
