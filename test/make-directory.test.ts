import { access, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeDirectory } from "../src/make-directory.ts";
import { makeScratchDirectory } from "./support/scratch-directory.ts";

test("a directory is made with those above it, and one that is there is left as it is", async () => {
  await using scratch = await makeScratchDirectory();
  const path = join(scratch.path, "a", "b", "c");
  await Promise.all([makeDirectory(path, 0o700), makeDirectory(path, 0o700)]);
  expect((await stat(path)).mode & 0o777).toBe(0o700);
  expect(await makeDirectory(join(path, "d", "e"))).toEqual([join(path, "d", "e"), join(path, "d")]);
  expect(await makeDirectory(path)).toEqual([]);
  await writeFile(join(path, "kept"), "");
  await makeDirectory(path);
  await access(join(path, "kept"));
  await expect(makeDirectory(join(path, "kept"))).rejects.toMatchObject({ code: "EEXIST" });
  await expect(makeDirectory(join(path, "kept", "below"))).rejects.toMatchObject({ code: "ENOTDIR" });
});

test.skipIf(process.platform !== "linux")(
  "where the system makes none it fails, and does not try for ever",
  async () => {
    await expect(makeDirectory("/proc/no-such-directory/below")).rejects.toMatchObject({ code: "ENOENT" });
  },
);
