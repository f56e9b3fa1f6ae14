import { readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { StoreService } from "#gen/stint/v1/store_pb.js";
import type { ServerOptions } from "../../src/server/options.ts";
import { startServer } from "../../src/server/start-server.ts";
import { StateCompleted, StateRunning } from "../../src/task/state.ts";
import { runCommand } from "../cli/support/run-command.ts";
import { callError } from "../support/call-error.ts";
import { eventually } from "../support/eventually.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";

const countdown = { name: "countdown", runner: { module: resolve("examples/runners/countdown.ts") } };

async function start(options: ServerOptions) {
  const server = await startServer({ listen: "127.0.0.1:0", controllers: [countdown], ...options });
  const transport = createGrpcTransport({ baseUrl: `http://${server.address}` });
  return {
    address: server.address,
    tasks: createClient(TaskControllerService, transport),
    store: createClient(StoreService, transport),
    launch: (taskId: string, metadata: object) =>
      createClient(TaskControllerService, transport).launchTask({
        controller: "countdown",
        taskId,
        payload: { case: "jsonMetadata", value: JSON.stringify(metadata) },
      }),
    [Symbol.asyncDispose]: () => server.close({ graceMs: 0 }),
  };
}

test("a server that runs is backed up by a command; the backup is a server with the same tasks, which go on", async () => {
  await using scratch = await makeScratchDirectory();
  const file = join(scratch.path, "one.backup");
  const dataDir = join(scratch.path, "data");
  const restored = join(scratch.path, "restored");
  {
    await using first = await start({ dataDir });
    await first.launch("done", { limit: 2, intervalMs: 1 });
    await first.tasks.waitTask({ controller: "countdown", taskId: "done" });
    await first.launch("live", { limit: 1_000_000, intervalMs: 20 });
    await eventually(async () => {
      const { status } = await first.tasks.getTaskStatus({ controller: "countdown", taskId: "live" });
      expect(status?.progress?.current).toBeGreaterThan(1n);
    });
    const backup = await runCommand(["store", "backup", "--server", first.address, "--to", file]);
    expect(backup).toMatchObject({ code: 0, err: "" });
    expect(backup.out).toContain(`backup of ${first.address} in ${file}, verified`);
    expect(backup.out).toContain("2 tasks");
    // The server keeps nothing of it.
    expect(await readdir(join(dataDir, "backups"))).toEqual([]);
    // What comes later is not in it.
    await first.launch("late", { limit: 1, intervalMs: 1 });
  }
  expect(await runCommand(["store", "restore", file, "--to", restored])).toMatchObject({ code: 0 });
  await using second = await start({ dataDir: restored });
  const done = await second.tasks.getTaskStatus({ controller: "countdown", taskId: "done" });
  expect(done.status).toMatchObject({ state: StateCompleted, result: '{"counted":2}' });
  await eventually(async () => {
    const { status } = await second.tasks.getTaskStatus({ controller: "countdown", taskId: "live" });
    expect(status).toMatchObject({ state: StateRunning, attempt: 2 });
    expect(status?.progress?.current).toBeGreaterThan(2n);
  });
  const late = await callError(second.tasks.getTaskStatus({ controller: "countdown", taskId: "late" }));
  expect(late.code).toBe("NotFound");
});

test("one backup is taken at a time; one whose client leaves lets go of its files, and the next one can begin", async () => {
  await using scratch = await makeScratchDirectory();
  await using served = await start({ dataDir: scratch.path });
  const leaving = new AbortController();
  const first = served.store.backup({}, { signal: leaving.signal })[Symbol.asyncIterator]();
  expect((await first.next()).value?.piece.length).toBeGreaterThan(0);
  // Small as it is, it may be through on the server's side.
  const second = await drain(served.store.backup({})).catch((error: unknown) => error);
  if (second instanceof Error) expect(second).toMatchObject({ code: 8 });
  leaving.abort();
  await first.next().catch(() => {});
  await eventually(async () => expect(await readdir(join(scratch.path, "backups"))).toEqual([]));
  await eventually(async () => expect(await drain(served.store.backup({}))).toBeGreaterThan(0));
});

test("a store in memory has none, and a command that got none leaves no file", async () => {
  await using scratch = await makeScratchDirectory();
  await using served = await start({ store: "memory:" });
  const failed = await runCommand(["store", "backup", "--server", served.address, "--to", join(scratch.path, "x")]);
  expect(failed).toMatchObject({ code: 1, out: "" });
  expect(failed.err).toContain("a store in memory has no backup");
  expect(await readdir(scratch.path)).toEqual([]);
});

async function drain(pieces: AsyncIterable<{ readonly piece: Uint8Array }>): Promise<number> {
  let bytes = 0;
  for await (const { piece } of pieces) bytes += piece.length;
  return bytes;
}
