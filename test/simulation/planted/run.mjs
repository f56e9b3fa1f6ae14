// Breaks a copy of the product with each patch of this folder in turn, and plays worlds until one shows it. A patch of what worlds do not have,
// such as LevelDB, names the rig that is run in their place, in a line "Rig: FILE" before it:
//
//   node test/simulation/planted/run.mjs [NAME ...]
//
// SIM_WORLDS: how many are played at most for each (default 2,000), SIM_SIZE: of which size (default large). Fails where one is missed, or a patch does not apply any more.
import { spawn } from "node:child_process";
import { cp, mkdtemp, readdir, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const planted = fileURLToPath(new URL(".", import.meta.url));
const root = join(planted, "../../..");
const worlds = process.env.SIM_WORLDS ?? "2000";
const size = process.env.SIM_SIZE ?? "large";
const copied = ["gen", "package.json", "src", "test", "tsconfig.json", "vitest.config.ts"];

const wanted = process.argv.slice(2);
const names = (await readdir(planted)).filter((name) => name.endsWith(".patch")).map((name) => name.slice(0, -6));
const unknown = wanted.filter((name) => !names.includes(name));
if (unknown.length > 0) {
  console.error(`there is no planted bug ${unknown.join(", ")}; there are ${names.join(", ")}`);
  process.exit(2);
}
const missed = [];
const caughtIn = [];
for (const name of names.filter((each) => wanted.length === 0 || wanted.includes(each))) {
  const outcome = await plant(name);
  console.log(`${name}: ${outcome.text}`);
  if (!outcome.isCaught) missed.push(name);
  if (outcome.world !== undefined) caughtIn.push(outcome.world);
}
caughtIn.sort((a, b) => a - b);
const tried = wanted.length === 0 ? names.length : wanted.length;
const median = caughtIn[Math.floor((caughtIn.length - 1) / 2)];
console.log(`planted bugs: ${tried - missed.length} of ${tried} caught, in world ${median} in the median`);
process.exitCode = missed.length === 0 ? 0 : 1;

/** Plants one, and plays. */
async function plant(name) {
  const copy = await mkdtemp(join(tmpdir(), "stint-planted-"));
  try {
    for (const path of copied) await cp(join(root, path), join(copy, path), { recursive: true });
    await symlink(join(root, "node_modules"), join(copy, "node_modules"));
    const patched = await run("git", ["apply", join(planted, `${name}.patch`)], copy);
    if (patched.code !== 0) return { isCaught: false, text: `does not apply\n${patched.output}` };
    const [, rig] = /^Rig: (.*)$/m.exec(await readFile(join(planted, `${name}.patch`), "utf8")) ?? [];
    const vitest = ["node_modules/vitest/vitest.mjs", "run", rig ?? "test/simulation/simulation.test.ts"];
    const ran = await run(process.execPath, vitest, copy);
    return rig === undefined ? outcomeOf(ran) : rigOutcomeOf(rig, ran);
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

function outcomeOf({ code, output }) {
  if (code === 0) return { isCaught: false, text: `missed in ${worlds} worlds` };
  const [, after] = /Property failed after (\d+) tests/.exec(output) ?? [];
  if (after === undefined) return { isCaught: false, text: `the worlds could not be played\n${output.slice(-3_000)}` };
  const [, why] = /Error: (.*)/.exec(output.slice(output.indexOf("Cause"))) ?? /Error: (.*)/.exec(output) ?? [];
  return { isCaught: true, world: Number(after), text: `caught in world ${after}: ${why?.slice(0, 160)}` };
}

function rigOutcomeOf(rig, { code, output }) {
  if (code === 0) return { isCaught: false, text: `missed by ${rig}` };
  const [, why] = /(?:AssertionError|Error): (.*)/.exec(output) ?? [];
  // One that cannot be run has caught nothing.
  if (why === undefined || !/Tests .*failed/.test(output))
    return { isCaught: false, text: `${rig} could not be run\n${output.slice(-3_000)}` };
  return { isCaught: true, text: `caught by ${rig}: ${why.slice(0, 160)}` };
}

function run(command, args, cwd) {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, SIM_WORLDS: worlds, SIM_SIZE: size, SIM_SHRINK: "no", NO_COLOR: "1" };
    const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (output += text));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, output }));
  });
}
