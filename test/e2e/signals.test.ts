/** The process of `stint serve` and its signals. Needs dist/ (npm run build). */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { ServedProcess } from "../support/served-process.ts";

// Stops when it likes: the server is kept draining.
const runner = `export const runner = { onTaskRunning: () => new Promise((resolve) => setTimeout(resolve, 60_000)) };`;

async function makeServer(directory: string): Promise<ServedProcess> {
  const config = join(directory, "stint.yaml");
  await writeFile(join(directory, "slow.mjs"), runner);
  await writeFile(config, "controllers:\n  - name: slow\n    runner:\n      module: slow.mjs\n");
  await mkdir(join(directory, "store"));
  return ServedProcess.create({ directory: join(directory, "store"), config });
}

const cases: ReadonlyArray<[what: string, startedBy: string, betweenMs: number, exitCode: number]> = [
  ["a second signal ends the server at once", "", 0, 143],
  ["under npm, one that comes with the first is the first", "start", 0, 0],
  ["under npm, one that comes later ends the server at once", "start", 1_000, 143],
];

test.each(cases)("%s", { timeout: 60_000 }, async (_what, startedBy, betweenMs, exitCode) => {
  await using scratch = await makeScratchDirectory();
  await using server = await makeServer(scratch.path);
  await server.start({ npm_lifecycle_event: startedBy });
  await server.client.launchTask({ controller: "slow", taskId: "slow" });
  const stopped = server.stop();
  await untilDraining(server);
  await sleep(betweenMs);
  expect([await server.stop(), await stopped]).toEqual([exitCode, exitCode]);
});

/** Resolves once the first signal has been seen. */
async function untilDraining({ client }: ServedProcess): Promise<void> {
  for (;;) {
    const { code } = await client.listControllers({}).then(
      () => ({ code: undefined }),
      (error: unknown) => ConnectError.from(error),
    );
    if (code === Code.Unavailable) return;
    await sleep(5);
  }
}
