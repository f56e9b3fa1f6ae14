/**
 * Listing and then watching from the list's revision, over a server with its store on disk, while other clients launch, cancel and delete all
 * the time: also while a page is made. LIST_WATCH_ROUNDS: how often each filter and order is raced (default 2).
 */
import { setMaxListeners } from "node:events";
import { join, resolve } from "node:path";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { type ListTasksRequestSchema, TaskControllerService, TaskOrder } from "#gen/stint/v1/controller_pb.js";
import { startServer } from "../../src/server/start-server.ts";
import { StateCanceled, StateCompleted, StatePending, StateRunning } from "../../src/task/state.ts";
import { eventually } from "../support/eventually.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { SeededRandom } from "../support/seeded-random.ts";

const rounds = Number(process.env["LIST_WATCH_ROUNDS"] ?? 2);
const controller = "countdown";
const taskCount = 40;

type Filter = Pick<MessageInitShape<typeof ListTasksRequestSchema>, "states" | "labels" | "idPrefix">;

const filters: readonly Filter[] = [
  {},
  { states: [StateRunning] },
  { states: [StateCompleted, StateCanceled] },
  { labels: { parity: "0" } },
  { idPrefix: "task-1" },
];
const races = filters.flatMap((filter) => [TaskOrder.ID, TaskOrder.NEWEST].map((orderBy) => ({ filter, orderBy })));

async function start() {
  const scratch = await makeScratchDirectory();
  const runner = { module: resolve("examples/runners/countdown.ts") };
  const server = await startServer({
    listen: "127.0.0.1:0",
    dataDir: join(scratch.path, "data"),
    controllers: [{ name: controller, runner }],
  });
  const client = () =>
    createClient(TaskControllerService, createGrpcTransport({ baseUrl: `http://${server.address}` }));
  return {
    client,
    async [Symbol.asyncDispose]() {
      await server.close({ graceMs: 0 });
      await scratch[Symbol.asyncDispose]();
    },
  };
}

type Client = ReturnType<Awaited<ReturnType<typeof start>>["client"]>;

/** Launches, cancels and deletes until it is told to stop. Resolves to how much was done. */
async function churn(client: Client, seed: number, stop: AbortSignal): Promise<number> {
  const random = new SeededRandom(seed);
  // Others do the same to the same tasks.
  const lost = [Code.NotFound, Code.FailedPrecondition];
  let done = 0;
  while (!stop.aborted) {
    const task = { controller, taskId: `task-${random.int(0, taskCount - 1)}` };
    const value = JSON.stringify({ limit: random.int(0, 3), intervalMs: random.int(0, 5) });
    const labels = { parity: String(random.int(0, 1)) };
    const choice = random.int(0, 9);
    try {
      if (choice < 6) await client.launchTask({ ...task, labels, payload: { case: "jsonMetadata", value } });
      else if (choice < 8) await client.cancelTask(task);
      else await client.deleteTask(task);
      done += 1;
    } catch (error) {
      if (!lost.includes(ConnectError.from(error).code)) throw error;
    }
  }
  return done;
}

type Known = Map<string, string>;

/** Lists all, page by page, and notes how far the store had come when the last page was there. */
async function list(client: Client, { filter, orderBy }: (typeof races)[number]) {
  const known: Known = new Map();
  let pageToken = "";
  let from = 0n;
  do {
    const page = await client.listTasks({ controller, ...filter, orderBy, pageSize: 3, pageToken });
    for (const { taskId, revision, status } of page.tasks) known.set(taskId, `${revision} ${status?.state}`);
    from = page.revision;
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return { known, from };
}

/** Lists, and then keeps what it knows up to date by a watch, until it is told to stop. */
async function replicate(client: Client, race: (typeof races)[number], signal: AbortSignal) {
  const { known, from } = await list(client, race);
  const behind = (await client.getServerInfo({})).store?.revision ?? 0n;
  const replica = { known, changes: 0, during: behind - from, error: undefined as unknown };
  const watching = (async () => {
    const watch = client.watchTasks({ controller, ...race.filter, sinceRevision: from }, { signal });
    for await (const { taskId, revision, status, deleted, left, bookmark } of watch) {
      if (bookmark) continue;
      replica.changes += 1;
      if (deleted || left) known.delete(taskId);
      else known.set(taskId, `${revision} ${status?.state}`);
    }
  })();
  watching.catch((error: unknown) => {
    if (!signal.aborted) replica.error = error;
  });
  return replica;
}

test(`has no gap while tasks come and go all the time, in ${rounds} rounds of each filter and order (LIST_WATCH_ROUNDS)`, {
  timeout: 60_000 + rounds * 30_000,
}, async () => {
  await using served = await start();
  const stopChurn = new AbortController();
  const stopWatches = new AbortController();
  setMaxListeners(races.length * rounds, stopWatches.signal);
  const churning = Promise.all([1, 2, 3, 4].map((seed) => churn(served.client(), seed, stopChurn.signal)));
  churning.catch(() => {});
  const client = served.client();
  await eventually(async () => expect((await list(client, races[0] as never)).known.size).toBeGreaterThan(10), 20_000);
  const replicas: { race: (typeof races)[number]; replica: Awaited<ReturnType<typeof replicate>> }[] = [];
  for (let round = 0; round < rounds; round += 1) {
    for (const race of races) replicas.push({ race, replica: await replicate(client, race, stopWatches.signal) });
  }
  stopChurn.abort();
  expect((await churning).every((done) => done > 0)).toBe(true);
  const active = { filter: { states: [StatePending, StateRunning] }, orderBy: TaskOrder.ID };
  await eventually(async () => expect((await list(client, active)).known.size).toBe(0), 30_000);
  const sorted = (known: Known): [string, string][] => [...known].sort(([a], [b]) => (a < b ? -1 : 1));
  for (const { race, replica } of replicas) {
    const now = sorted((await list(client, race)).known);
    await eventually(
      () => expect([race, sorted(replica.known), replica.error]).toEqual([race, now, undefined]),
      10_000,
    );
  }
  stopWatches.abort();
  // They were races: lists saw the store change while they were made, and watches had something to add. How many is the machine's choice.
  expect(replicas.some(({ replica }) => replica.during > 0n)).toBe(true);
  expect(replicas.some(({ replica }) => replica.changes > 0)).toBe(true);
});
