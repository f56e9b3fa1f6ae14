/** The configuration of a life of the server: another each time, as far as nothing that is promised depends on it. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { SeededRandom } from "../../support/seeded-random.ts";
import { repositoryRoot } from "../../support/served-process.ts";
import { controllers } from "./drivers.ts";

const ledger = { module: join(repositoryRoot, "test/e2e/runners/ledger.ts") };
const countdown = { module: join(repositoryRoot, "examples/runners/countdown.ts") };
const MiB = 1 << 20;

/** `retentionHours` 0: what has ended is swept. History lasts for longer than an era, or its truth could not be read. */
export async function writeOptions(file: string, random: SeededRandom, retentionHours?: number): Promise<void> {
  const config = {
    reflection: random.chance(0.5),
    historyHours: random.pick([1, 2, 24]),
    historyBytes: random.pick([128 * MiB, 256 * MiB]),
    retentionHours: retentionHours ?? random.pick([2, 24, 1_000]),
    limits: { launchesAtOnceMax: random.pick([100, 1_000]), activeMax: random.pick([1_000, 10_000]) },
    controllers: [
      { name: controllers.ledger, runner: ledger, concurrency: random.pick([50, 200, 1_000]) },
      { name: controllers.narrow, runner: ledger, concurrency: random.int(1, 4) },
      { name: controllers.countdown, runner: countdown },
    ],
  };
  // JSON is YAML.
  await writeFile(file, JSON.stringify(config));
}
