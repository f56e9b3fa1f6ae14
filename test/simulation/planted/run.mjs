// Breaks a copy of the product with each patch of this folder in turn, and plays worlds until one shows it:
//
//   node test/simulation/planted/run.mjs [NAME ...]
//
// SIM_WORLDS: how many are played at most for each (default 2,000). Fails where one is missed, or a patch does not apply any more.
import { spawn } from "node:child_process";
import { cp, mkdtemp, readdir, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const planted = fileURLToPath(new URL(".", import.meta.url));
const root = join(planted, "../../..");
const worlds = process.env.SIM_WORLDS ?? "2000";
const copied = ["gen", "package.json", "src", "test", "tsconfig.json", "vitest.config.ts"];

const wanted = process.argv.slice(2);
const names = (await readdir(planted)).filter((name) => name.endsWith(".patch")).map((name) => name.slice(0, -6));
const missed = [];
for (const name of names.filter((each) => wanted.length === 0 || wanted.includes(each))) {
  const outcome = await plant(name);
  console.log(`${name}: ${outcome.text}`);
  if (!outcome.isCaught) missed.push(name);
}
process.exitCode = missed.length === 0 ? 0 : 1;

/** Plants one, and plays. */
async function plant(name) {
  const copy = await mkdtemp(join(tmpdir(), "stint-planted-"));
  try {
    for (const path of copied) await cp(join(root, path), join(copy, path), { recursive: true });
    await symlink(join(root, "node_modules"), join(copy, "node_modules"));
    const patched = await run("git", ["apply", join(planted, `${name}.patch`)], copy);
    if (patched.code !== 0) return { isCaught: false, text: `does not apply\n${patched.output}` };
    const vitest = ["node_modules/vitest/vitest.mjs", "run", "test/simulation/simulation.test.ts"];
    const played = await run(process.execPath, vitest, copy);
    return outcomeOf(played);
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

function outcomeOf({ code, output }) {
  if (code === 0) return { isCaught: false, text: `missed in ${worlds} worlds` };
  const [, after] = /Property failed after (\d+) tests/.exec(output) ?? [];
  if (after === undefined) return { isCaught: false, text: `the worlds could not be played\n${output.slice(-3_000)}` };
  const [, why] = /Error: (.*)/.exec(output.slice(output.indexOf("Cause"))) ?? /Error: (.*)/.exec(output) ?? [];
  return { isCaught: true, text: `caught in world ${after}: ${why?.slice(0, 160)}` };
}

function run(command, args, cwd) {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, SIM_WORLDS: worlds, SIM_SHRINK: "no", NO_COLOR: "1" };
    const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (output += text));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, output }));
  });
}
