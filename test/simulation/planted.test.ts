import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { repositoryRoot } from "../support/served-process.ts";

const planted = new URL("./planted/", import.meta.url);
const patches = readdirSync(planted).filter((name) => name.endsWith(".patch"));

/** The file of each hunk of a patch, and the lines that it wants to find there. */
function hunksOf(patch: string): Array<{ readonly file: string; readonly lines: string }> {
  return patch
    .split(/^diff --git /m)
    .slice(1)
    .flatMap((part) => {
      const [, file = ""] = /^\+\+\+ b\/(.*)$/m.exec(part) ?? [];
      return part
        .split(/^@@ .*\n/m)
        .slice(1)
        .map((hunk) => ({ file, lines: hunk.replaceAll(/^\+.*\n/gm, "").replaceAll(/^[ -]/gm, "") }));
    });
}

test("there are planted bugs", () => {
  expect(patches.length).toBeGreaterThanOrEqual(25);
});

test.each(patches)("%s is of the code as it is", (name) => {
  const hunks = hunksOf(readFileSync(new URL(name, planted), "utf8"));
  expect(hunks.length).toBeGreaterThan(0);
  for (const { file, lines } of hunks) {
    expect(readFileSync(new URL(file, `file://${repositoryRoot}/`), "utf8")).toContain(lines);
  }
});
