/** The package as others get it: packed, and installed into an empty project. Needs the npm registry. */
import { execFile } from "node:child_process";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import packageJson from "../../package.json" with { type: "json" };
import { makeCheckout } from "../support/checkout.ts";
import { readBlocks } from "../support/doc-blocks.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";

const run = promisify(execFile);

test("the package that npm pack makes can be installed, run and imported", { timeout: 240_000 }, async () => {
  await using checkout = await makeCheckout();
  const packed = await run("npm", ["pack", "--json"], { cwd: checkout.path });
  const [{ filename, files }] = JSON.parse(packed.stdout) as [{ filename: string; files: { path: string }[] }];
  const paths = files.map(({ path }) => path);
  const needed = ["dist/index.js", "dist/index.d.ts", "dist/cli/main.js", "gen/descriptors.binpb", "docs/operating.md"];
  needed.push("dist/runner-client/session-worker.js", "docs/runners.md");
  const examples = ["examples/stint.yaml", "examples/runners/countdown.ts", "proto/stint/v1/controller.proto"];
  expect(paths).toEqual(expect.arrayContaining([...needed, ...examples, "README.md", "LICENSE"]));
  expect(paths.filter((path) => /^(src|test|bench|scripts|\.ci)\/|\.map$/.test(path))).toEqual([]);

  await using project = await makeScratchDirectory();
  await writeFile(join(project.path, "package.json"), '{"type": "module"}');
  const inProject = (command: string, ...args: string[]) => run(command, args, { cwd: project.path });
  await inProject("npm", "install", "--prefer-offline", "--no-audit", "--no-fund", join(checkout.path, filename));
  expect(await readdir(join(project.path, "node_modules"))).not.toContain("vitest");

  expect((await inProject("npx", "stint", "version")).stdout).toBe(`stint ${packageJson.version}\n`);
  const [example = ""] = await readBlocks("README.md", "ts");
  await writeFile(join(project.path, "example.ts"), example);
  expect((await inProject("npx", "tsx", "example.ts")).stdout).toMatch(/^Completed 1000n$/m);
});
