import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { restoreBackup } from "../../src/store/maintenance.ts";
import { expectFailure } from "../../src/store-conformance/harness.ts";
import { makeScratch } from "./level-fixture.ts";

test("what is no backup is refused in words, and nothing is made of it", async () => {
  await using scratch = await makeScratch();
  const target = join(scratch.path, "restored");
  const missing = await expectFailure(restoreBackup(join(scratch.path, "missing"), target), "INVALID");
  expect(missing.message).toContain("there is no backup");
  const directory = await expectFailure(restoreBackup(scratch.path, target), "INVALID");
  expect(directory.message).toContain("is a directory, and no backup");
  expect(await readdir(scratch.path)).toEqual([]);
});
