/** Many tasks. SCALE_TASKS: how many (default 5,000); with 100,000 it takes some minutes, and prints what it measured. */
import { execFile } from "node:child_process";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import type { Launched, Listed, Opened, Swept } from "./many-tasks.ts";

const count = Number(process.env["SCALE_TASKS"] ?? 5_000);
const half = Math.floor(count / 2);
/**
 * What an ended task may add to the memory of a process: the filter of keys takes some twenty bytes for one at worst. Anything
 * kept for each, were it only its id in a set, is more.
 */
const heldBytesPerTask = 30;
/** By how much two measurements may differ of themselves: in processes that did the same, and in one that has gone on filling caches. */
const noiseBytes = { alike: 250_000, goneOn: 1_700_000 };

test(`${count} tasks are launched, run, listed, counted and swept, and cost no memory once they have ended`, {
  timeout: 7_200_000,
}, async () => {
  await using scratch = await makeScratchDirectory();
  const script = fileURLToPath(new URL("./many-tasks.ts", import.meta.url));
  // Each in a process of its own: what is compared has done the same, with more tasks there.
  const run = async (verb: string, ...numbers: number[]): Promise<unknown> => {
    const args = ["--import", "tsx", script, verb, scratch.path, ...numbers.map(String)];
    return JSON.parse((await promisify(execFile)(process.execPath, args)).stdout);
  };
  const launchedHalf = (await run("launch", 0, half)) as Launched;
  const openedHalf = (await run("open")) as Opened;
  const launchedAll = (await run("launch", half, count)) as Launched;
  const diskBytes = await bytesBelow(scratch.path);
  const openedAll = (await run("open")) as Opened;
  const listed = (await run("list")) as Listed;
  const swept = (await run("sweep")) as Swept;
  const figures = { count, launchedHalf, openedHalf, launchedAll, diskBytes, openedAll, listed, swept };
  if (process.env["SCALE_TASKS"] !== undefined) process.stderr.write(`${JSON.stringify(figures, undefined, 2)}\n`);

  expect(listed).toMatchObject({ listed: count, distinct: count, counted: count, totalSize: count });
  expect(listed.pages).toBeGreaterThanOrEqual(Math.ceil(count / 1_000));
  expect(swept).toMatchObject({ leftAfterSweep: 0, keysAfterSweep: 0 });
  for (const [from, to, { warm, worked }] of [
    [0, half, launchedHalf],
    [half, count, launchedAll],
  ] as const) {
    const held = worked.heldBytes - warm.heldBytes;
    expect(held, `bytes held more by who launched ${from} to ${to}`).toBeLessThan(
      heldBytesPerTask * (to - from) * 0.8 + noiseBytes.goneOn,
    );
  }
  const held = openedAll.heldBytes - openedHalf.heldBytes;
  expect(held, "bytes held more by who opened all than by who opened half").toBeLessThan(
    heldBytesPerTask * (count - half) + noiseBytes.alike,
  );
  // Seconds, and no matter of how many there are; with room for a machine that has other things to do.
  expect(openedAll.openStoreMs + openedAll.openControllerMs).toBeLessThan(60_000);
});

async function bytesBelow(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((file) => stat(join(file.parentPath, file.name)));
  return (await Promise.all(files)).reduce((sum, { size }) => sum + size, 0);
}
