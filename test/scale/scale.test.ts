/** Many tasks. SCALE_TASKS: how many (default 5,000); with 100,000 it takes some minutes, and prints what it measured. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import type { Figures } from "./many-tasks.ts";

const count = Number(process.env["SCALE_TASKS"] ?? 5_000);

test(`${count} tasks are launched, run, listed, counted and swept, and cost no memory once they have ended`, {
  timeout: 1_800_000,
}, async () => {
  await using scratch = await makeScratchDirectory();
  const script = fileURLToPath(new URL("./many-tasks.ts", import.meta.url));
  const args = ["--expose-gc", "--import", "tsx", script, scratch.path, String(count)];
  const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 1 << 20 });
  const figures = JSON.parse(stdout) as Figures;
  if (process.env["SCALE_TASKS"] !== undefined) process.stderr.write(`${JSON.stringify(figures, undefined, 2)}\n`);
  expect(figures).toMatchObject({ listed: count, distinct: count, counted: count, totalSize: count });
  expect(figures.pages).toBeGreaterThanOrEqual(Math.ceil(count / 1_000));
  expect(figures).toMatchObject({ leftAfterSweep: 0, keysAfterSweep: 0 });
  // A record that stayed in memory would be a kilobyte and more; the filter of keys, and noise, are a fraction of that.
  expect(figures.heapBytesPerEndedTask).toBeLessThan(300 + 2_000_000 / count);
  // What is opened is not loaded.
  expect((figures.heapAfterOpening - figures.heapEmpty) / count).toBeLessThan(300 + 2_000_000 / count);
});
