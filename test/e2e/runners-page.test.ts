/** What docs/runners.md shows works as it stands there. Needs dist/ (npm run build). */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { readBlocks } from "../support/doc-blocks.ts";
import { openFakeRunnerServer } from "../support/fake-runner-server.ts";
import { addCompilerOptions, makeProgram } from "../support/program-of-docs.ts";
import { repositoryRoot } from "../support/served-process.ts";

const run = promisify(execFile);
const withTypeScript = ["--import", import.meta.resolve("tsx")];

async function blocks(): Promise<Record<"runner.ts" | "main.ts" | "runner.test.ts", string>> {
  const [runner = "", main = "", , test_ = "", ...others] = await readBlocks("docs/runners.md", "ts");
  expect(others).toEqual([]);
  return { "runner.ts": runner, "main.ts": main, "runner.test.ts": test_ };
}

test("the runner does its task, keeps what is left over, and ends after SIGTERM", { timeout: 60_000 }, async () => {
  await using server = await openFakeRunnerServer();
  const files = await blocks();
  const main = files["main.ts"].replace("127.0.0.1:7846", server.address);
  expect(main).not.toBe(files["main.ts"]);
  await using program = await makeProgram({ ...files, "main.ts": main });
  const child = spawn(process.execPath, [...withTypeScript, "main.ts"], { cwd: program.path, stdio: "inherit" });
  const exited = once(child, "exit");
  try {
    const stream = await server.stream(0, 30_000);
    const end = await stream.run(5n, { metadata: '{"rows": 5}', progress: { current: 3n } });
    expect(end.outcome).toMatchObject({ case: "done", value: { result: '{"imported":5}' } });
    expect(stream.of("write").map(({ progress }) => progress?.current)).toEqual([4n, 5n]);
    child.kill("SIGTERM");
    expect(await exited).toEqual([0, null]);
  } finally {
    child.kill("SIGKILL");
  }
});

test("the test of the runner passes", { timeout: 60_000 }, async () => {
  await using program = await makeProgram(await blocks());
  const { stderr } = await run(process.execPath, [...withTypeScript, "runner.test.ts"], { cwd: program.path });
  expect(stderr).toBe("");
});

test("all of it has the types that it needs", { timeout: 60_000 }, async () => {
  const files = await blocks();
  await using program = await makeProgram(files);
  await addCompilerOptions(program, Object.keys(files));
  const compiler = join(repositoryRoot, "node_modules", ".bin", "tsc");
  const { stdout } = await run(compiler, ["-p", program.path]).catch((error: { stdout: string }) => error);
  expect(stdout).toBe("");
});
