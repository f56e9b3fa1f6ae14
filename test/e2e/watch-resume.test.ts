/** A client that watches a task of a real server, which is killed again and again. Needs dist/ (npm run build). */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { type LogEntry, TaskState } from "#gen/core/v1/core_pb.js";
import type { TaskControllerService, WatchTaskResponse } from "#gen/stint/v1/controller_pb.js";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { repositoryRoot, ServedProcess } from "../support/served-process.ts";

const kills = Number(process.env["WATCH_RESUME_KILLS"] ?? 3);
const stepsPerLife = 8;

/** Watches the task to its end, over every broken stream, by the revision of the message before. */
class WatchingClient {
  readonly changes: WatchTaskResponse[] = [];
  readonly logs: LogEntry[] = [];
  readonly done: Promise<void>;
  streams = 0;

  constructor(client: Client<typeof TaskControllerService>, taskId: string) {
    this.done = this.#run(client, taskId);
  }

  async #run(client: Client<typeof TaskControllerService>, taskId: string): Promise<void> {
    let sinceRevision = 0n;
    for (;;) {
      this.streams += 1;
      try {
        const request = {
          controller: "countdown",
          taskId,
          sinceRevision,
          includeLogs: true,
          waitForLaunch: sinceRevision === 0n,
        };
        for await (const change of client.watchTask(request)) {
          expect(change.revision).toBeGreaterThanOrEqual(sinceRevision);
          sinceRevision = change.revision;
          this.logs.push(...change.logs);
          if (change.status !== undefined) this.changes.push(change);
        }
        return;
      } catch {
        await sleep(50);
      }
    }
  }
}

test(`a watch goes on over ${kills} kills of the server, without a gap and without a repetition`, {
  timeout: 60_000 + kills * 20_000,
}, async () => {
  await using scratch = await makeScratchDirectory();
  const config = join(repositoryRoot, "examples/stint.yaml");
  await using service = await ServedProcess.create({ directory: scratch.path, config });
  await service.start();
  const { client } = service;
  const watching = new WatchingClient(client, "long");
  const limit = stepsPerLife * (kills + 1);
  await client.launchTask({
    controller: "countdown",
    taskId: "long",
    payload: { case: "jsonMetadata", value: JSON.stringify({ limit, intervalMs: 40 }) },
    requestId: "once",
  });
  for (let life = 1; life <= kills; life += 1) {
    while (Number(watching.changes.at(-1)?.status?.progress?.current ?? 0n) < life * stepsPerLife) await sleep(10);
    await service.kill();
    await service.start();
  }
  await watching.done;

  const { status } = await client.getTaskStatus({ controller: "countdown", taskId: "long", logLimit: 1_000 });
  expect(status?.state).toBe(TaskState.Completed);
  expect(status?.attempt).toBe(kills + 1);
  expect(watching.streams).toBeGreaterThan(kills);

  const revisions = watching.changes.map(({ revision }) => revision);
  expect(revisions, "each message once, in order").toEqual([...new Set(revisions)].sort((a, b) => Number(a - b)));
  // A message that shows one transition more than the one before it is that transition's.
  const counts = watching.changes.map((change) => change.status?.transitions.length ?? 0);
  const isTransition = counts.map((count, i) => count !== (counts[i - 1] ?? 0));
  const seen = watching.changes.filter((_, i) => isTransition[i]).map((change) => change.status?.state);
  const made = status?.transitions.map(({ state }) => state) ?? [];
  expect(made).toEqual([
    ...Array.from({ length: kills + 1 }, () => [TaskState.Pending, TaskState.Running]).flat(),
    TaskState.Completed,
  ]);
  // The watch may have begun when the task was there already.
  expect(seen).toEqual(made.slice(made.length - seen.length));
  expect(counts.filter((_, i) => isTransition[i])).toEqual(made.map((_, i) => i + 1).slice(made.length - seen.length));
  expect(seen.length).toBeGreaterThanOrEqual(made.length - 1);

  const seqs = watching.logs.map(({ seq }) => Number(seq));
  expect(seqs).toEqual(seqs.map((_, i) => i + 1));
  expect(BigInt(seqs.length)).toBe(status?.logCount);
});
