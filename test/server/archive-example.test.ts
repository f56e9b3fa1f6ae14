/** The command of examples/exec/archive.sh, as examples/stint.yaml has it. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, realpath, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { loadConfig } from "../../src/server/load-config.ts";
import { startServer } from "../../src/server/start-server.ts";
import { StateCompleted, StateFailed } from "../../src/task/state.ts";
import { eventually } from "../support/eventually.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";

/** A server with the example's archive, which works in `cwd`. */
async function start(cwd: string, env: Record<string, string> = {}) {
  const { controllers = [] } = await loadConfig("examples/stint.yaml");
  const archive = controllers.find(({ name }) => name === "archive");
  if (archive?.runner.exec === undefined) throw new Error("the example has no archive");
  const controller = { ...archive, runner: { exec: { ...archive.runner.exec, cwd, env } } };
  const dataDir = join(cwd, "data");
  const server = await startServer({ listen: "127.0.0.1:0", dataDir, controllers: [controller], env: process.env });
  const client = createClient(TaskControllerService, createGrpcTransport({ baseUrl: `http://${server.address}` }));
  const task = { controller: "archive", taskId: "nightly:1" };
  return {
    async launch(path: string) {
      await client.launchTask({ ...task, payload: { case: "jsonMetadata", value: JSON.stringify({ path }) } });
    },
    status: async () => (await client.getTaskStatus(task)).status,
    async end() {
      for await (const _ of client.watchTask(task));
      return (await client.getTaskStatus(task)).status;
    },
    [Symbol.asyncDispose]: () => server.close({ graceMs: 0 }),
  };
}

/** A directory to archive: an entry for it, one for what is in it, and one for each of 300 files, some of them with odd names. */
async function createTree(parent: string): Promise<string> {
  const path = join(parent, "tree ' with\\n odd $names");
  await mkdir(join(path, "inner"), { recursive: true });
  const odd = ["-rf", "a b", "c\nd", 'e"f', "g\\nh", "::result 1"];
  const names = Array.from({ length: 300 }, (_, index) => odd[index] ?? `file-${index}`);
  for (const name of names) await writeFile(join(path, "inner", name), name.repeat(50));
  return path;
}

test("archives a directory, with its progress, and its path, size and digest as the result", async () => {
  await using scratch = await makeScratchDirectory();
  const cwd = await realpath(scratch.path);
  await using served = await start(cwd);
  await served.launch(await createTree(cwd));
  const status = await served.end();
  expect(status).toMatchObject({ state: StateCompleted, progress: { current: 302n, total: 302n } });
  const result = JSON.parse(status?.result ?? "") as { path: string; size: number; sha256: string };
  expect(result.path).toBe(join(cwd, "stint-archives", "nightly:1.tar.gz"));
  const archive = await readFile(result.path);
  expect(result).toMatchObject({
    size: archive.byteLength,
    sha256: createHash("sha256").update(archive).digest("hex"),
  });
  const unpacked = join(cwd, "unpacked");
  await mkdir(unpacked);
  execFileSync("tar", ["-xzf", result.path, "-C", unpacked]);
  expect(await readFile(join(unpacked, "inner", "c\nd"), "utf8")).toBe("c\nd".repeat(50));
  expect(await readdir(join(unpacked, "inner"))).toHaveLength(300);
  expect(await readdir(join(cwd, "stint-archives"))).toEqual(["nightly:1.tar.gz"]);
});

test("is begun anew when the server was stopped, and leaves no part of an archive", async () => {
  await using scratch = await makeScratchDirectory();
  const cwd = await realpath(scratch.path);
  const tree = await createTree(cwd);
  // A tar that gets stuck in its first attempt.
  await mkdir(join(cwd, "bin"));
  const stuck = `#!/bin/sh\n[ "$STINT_ATTEMPT" -gt 1 ] && PATH="$REAL_PATH" exec tar "$@"\necho part >"$2"; echo ./; echo ./one; exec sleep 1000\n`;
  await writeFile(join(cwd, "bin/tar"), stuck, { mode: 0o755 });
  const path = process.env["PATH"] ?? "";
  const env = { PATH: `${join(cwd, "bin")}:${path}`, REAL_PATH: path };
  {
    await using served = await start(cwd, env);
    await served.launch(tree);
    await eventually(
      async () => expect(await readdir(join(cwd, "stint-archives"))).toEqual([".nightly:1.part"]),
      20_000,
    );
  }
  expect(await readdir(join(cwd, "stint-archives"))).toEqual([]);
  {
    await using served = await start(cwd, env);
    expect(await served.end()).toMatchObject({ state: StateCompleted, attempt: 2, progress: { current: 302n } });
    expect((await served.status())?.logs[0]?.msg).toContain("archiving");
    expect(await readdir(join(cwd, "stint-archives"))).toEqual(["nightly:1.tar.gz"]);
  }
});

test.each<[string, (cwd: string) => string, string]>([
  ["is not there", (cwd) => join(cwd, "none"), "there is no directory "],
  ["has the archive in it", (cwd) => cwd, "an archive cannot have itself in it"],
])("fails for a directory that %s", async (_, pathIn, message) => {
  await using scratch = await makeScratchDirectory();
  const cwd = await realpath(scratch.path);
  await using served = await start(cwd);
  await served.launch(pathIn(cwd));
  expect(await served.end()).toMatchObject({
    state: StateFailed,
    error: { reason: "EXIT_CODE", message: expect.stringContaining(message) as unknown, details: { exit_code: "1" } },
  });
});

test("fails with what tar says in the log", async () => {
  await using scratch = await makeScratchDirectory();
  const cwd = await realpath(scratch.path);
  await mkdir(join(cwd, "bin"));
  await mkdir(join(cwd, "tree"));
  await writeFile(join(cwd, "bin/tar"), "#!/bin/sh\necho 'tar: no space' >&2\nexit 2\n", { mode: 0o755 });
  await using served = await start(cwd, { PATH: `${join(cwd, "bin")}:${process.env["PATH"]}` });
  await served.launch("tree");
  const status = await served.end();
  expect(status).toMatchObject({
    state: StateFailed,
    error: { message: "tar ended with 2; what it said is in the log" },
  });
  expect(status?.logs).toContainEqual(expect.objectContaining({ level: 4, msg: "tar: no space" }));
  expect(await readdir(join(cwd, "stint-archives"))).toEqual([]);
});
