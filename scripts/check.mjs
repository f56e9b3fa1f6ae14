// `npm run check`: everything that can be checked without running the product.
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generatedPaths, generateInto } from "./generate.mjs";
import { root, runTool } from "./run-tool.mjs";

const steps = [
  ["format", () => tool("biome", ["format", "."])],
  ["types", () => tool("tsc", ["--noEmit"])],
  ["proto lint", () => tool("buf", ["lint"])],
  ["proto breaking", () => tool("buf", ["breaking", "--against", "proto.baseline.binpb"])],
  ["generated files are fresh", checkGenerated],
  ["the lock file names no host", checkLock],
];

async function tool(name, args) {
  const { code, output } = await runTool(name, args);
  if (code !== 0) throw new Error(output);
}

async function checkGenerated() {
  const directory = await mkdtemp(join(tmpdir(), "stint-generated-"));
  try {
    await generateInto(directory);
    for (const path of generatedPaths) {
      const [now, made] = await Promise.all([filesOf(join(root, path)), filesOf(join(directory, path))]);
      const stale = [...new Set([...now.keys(), ...made.keys()])].filter((file) => now.get(file) !== made.get(file));
      if (stale.length > 0) throw new Error(`stale below ${path}: ${stale.join(", ")}; run npm run generate`);
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function filesOf(path) {
  const entries = await readdir(path, { recursive: true, withFileTypes: true }).catch(() => undefined);
  if (entries === undefined) return new Map([["", await readFile(path, "base64").catch(() => undefined)]]);
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return new Map(
    await Promise.all(files.map(async (file) => [file.slice(path.length), await readFile(file, "base64")])),
  );
}

async function checkLock() {
  const lock = await readFile(join(root, "package-lock.json"), "utf8");
  if (lock.includes('"resolved"')) throw new Error("package-lock.json has download addresses");
}

let failed = 0;
for (const [name, step] of steps) {
  try {
    await step();
    console.log(`ok    ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  ${name}\n${error instanceof Error ? error.message : error}`);
  }
}
process.exitCode = failed === 0 ? 0 : 1;
