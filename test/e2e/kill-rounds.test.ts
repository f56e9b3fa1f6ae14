/**
 * `stint serve` is killed with SIGKILL again and again, on one directory, while clients launch, cancel and watch and
 * runners set progress and write log entries: at any moment, and at places in its code. Each time it starts with other options, and
 * some answers are lost on their way. What was acknowledged to either side is written down outside of the server, and compared with
 * what is on disk, after each 50 kills.
 *
 * KILL_ROUNDS: how many kills (default 5). KILL_SEED: what the clients and the kills go by; printed. KILL_KEEP: a directory
 * that stays, for a look at what is left; a store in it is gone on with. Needs dist/ (npm run build).
 */
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { ServedProcess } from "../support/served-process.ts";
import { type Ground, runEra, sweep } from "./kill-rounds/era.ts";
import { addFigures, type Figures, lineOfFigures, noFigures, tooFew } from "./kill-rounds/figures.ts";

const rounds = Number(process.env["KILL_ROUNDS"] ?? 5);
const seed = Number(process.env["KILL_SEED"] ?? Math.floor(Math.random() * 2 ** 32));
const eraKills = 50;

let figures: Figures = noFigures;
let killed = 0;
afterAll(() => {
  process.stderr.write(`kill rounds: ${killed} kills, KILL_SEED=${seed}: ${lineOfFigures(figures)}\n`);
});

test(`${rounds} kills of the server lose nothing that was acknowledged, and every task ends as it must`, {
  timeout: 300_000 + rounds * 20_000,
}, async () => {
  await using scratch = await makeScratchDirectory();
  const directory = process.env["KILL_KEEP"] ?? scratch.path;
  await mkdir(directory, { recursive: true });
  const data = join(directory, "data");
  const config = join(directory, "stint.yaml");
  await using service = await ServedProcess.create({ directory: data, config });
  const ground: Ground = { service, data, config, directory, random: new SeededRandom(seed) };
  // Of few kills chance may leave too little that is rare: then there are more.
  const isEnough = (): boolean => killed >= rounds && (tooFew(figures, rounds).length === 0 || killed >= 3 * rounds);
  while (!isEnough()) {
    const kills = Math.min(eraKills, killed < rounds ? rounds - killed : rounds);
    const since = existsSync(data) ? await sweep(ground) : 0;
    figures = addFigures(figures, await runEra(ground, { name: `${seed.toString(36)}-${killed}`, kills, since }));
    killed += kills;
  }
  expect(tooFew(figures, rounds), "too little has happened to say anything").toEqual([]);
});
