// `npm run check`: everything that can be checked without running the product. Needs
// no network. The steps run side by side; a failure of one hides nothing of another.
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generatedPaths, generateInto } from "./generate.mjs";
import { root, runTool } from "./run-tool.mjs";

/** The protos as they stood on main, made by `npm run proto:baseline`. */
const baseline = "proto.baseline.binpb";

const steps = [
  ["format", () => tool("biome", ["format", "."])],
  ["lint", () => tool("oxlint", ["--type-aware", "--deny-warnings", "--report-unused-disable-directives"])],
  ["types", () => tool("tsc", ["--noEmit"])],
  ["types of the page", () => tool("tsc", ["--noEmit", "--project", "examples/clients/browser"])],
  ["proto lint", () => tool("buf", ["lint"])],
  [`protos break nothing of ${baseline}`, () => tool("buf", ["breaking", "--against", baseline])],
  ["generated files are fresh", checkGenerated],
  ["package-lock.json names no host", checkLock],
];

const failures = await Promise.all(steps.map(([name, step]) => run(name, step)));
process.exitCode = failures.includes(true) ? 1 : 0;

/** Runs one step, says how it went, and resolves to whether it failed. */
async function run(name, step) {
  const failure = await step().catch((error) => (error instanceof Error ? error.message : String(error)));
  console.log(failure === undefined ? `ok    ${name}` : `FAIL  ${name}\n${failure}`);
  return failure !== undefined;
}

async function tool(name, args) {
  const { code, output } = await runTool(name, args);
  if (code !== 0) throw new Error(output === "" ? `${name} ended with exit code ${code}` : output);
}

async function checkGenerated() {
  const directory = await mkdtemp(join(tmpdir(), "stint-generated-"));
  try {
    await generateInto(directory);
    const stale = await Promise.all(generatedPaths.map((path) => staleBelow(path, directory)));
    if (stale.flat().length > 0) throw new Error(`${stale.flat().join("\n")}\nrun npm run generate`);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** A line for each file that differs between the repository and what was made in `directory`. */
async function staleBelow(path, directory) {
  const [now, made] = await Promise.all([filesOf(join(root, path)), filesOf(join(directory, path))]);
  return [...new Set([...now.keys(), ...made.keys()])]
    .filter((file) => now.get(file) !== made.get(file))
    .map(
      (file) =>
        `${path}${file} is ${now.has(file) ? (made.has(file) ? "stale" : "not generated any more") : "missing"}`,
    );
}

/** The files at or below `path` by what their paths have more, each as base64; none where there is nothing. */
async function filesOf(path) {
  const entries = await readdir(path, { recursive: true, withFileTypes: true }).catch(codeOf);
  if (entries === "ENOENT") return new Map();
  if (entries === "ENOTDIR") return new Map([["", await readFile(path, "base64")]]);
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return new Map(
    await Promise.all(files.map(async (file) => [file.slice(path.length), await readFile(file, "base64")])),
  );
}

function codeOf(error) {
  if (error.code === "ENOENT" || error.code === "ENOTDIR") return error.code;
  throw error;
}

async function checkLock() {
  const { packages } = JSON.parse(await readFile(join(root, "package-lock.json"), "utf8"));
  const named = Object.keys(packages).filter((name) => packages[name].resolved !== undefined);
  if (named.length > 0) throw new Error(`"resolved" in package-lock.json: ${named.join(", ")}`);
}
