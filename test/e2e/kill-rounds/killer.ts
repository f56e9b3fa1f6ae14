/**
 * Starts the server and kills it: at any moment of its load, while it still opens, at a moment that a runner picks from inside, or
 * at a place in its code.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { SeededRandom } from "../../support/seeded-random.ts";
import type { ServedProcess } from "../../support/served-process.ts";
import { environmentOf, type Place, places, planLife } from "./failpoint.ts";
import { writeOptions } from "./options.ts";
import { Reachable } from "./reachable.ts";
import type { Told } from "./told.ts";

/** A life of the server's process. */
export interface Life {
  readonly number: number;
  readonly ledger: string;
  /** Whether it served before it was killed. */
  served: boolean;
  /** When it was gone, by the wall clock; Infinity while it is not. */
  killedMs: number;
  /** How it was killed; a place, if the process has done it there. */
  killed: Way | undefined;
}

const ways = ["load", "long", "opening it", "a runner"] as const;
export type Way = (typeof ways)[number] | Place;
export const allWays: readonly Way[] = [...ways, ...places];

const deathMaxMs = 5_000;
/** How long a life is that was to kill itself at a place, and does not come by often enough. */
const passageMaxMs = 1_500;
const answersMin = 20;
const shownMin = 60;
const loadMaxTurns = 250;

export class Killer {
  readonly lives: Life[] = [];
  readonly reachable = new Reachable();
  readonly #told: Told;
  readonly #service: ServedProcess;
  readonly #random: SeededRandom;
  readonly #directory: string;
  readonly #config: string;
  readonly #data: string;
  /** How long the last start took that came to its end: most of it passes before the store is opened. */
  #startMs = 0;

  /** `directory` is where the lives keep their ledgers, `config` the file that the server reads. */
  constructor(
    service: ServedProcess,
    random: SeededRandom,
    options: { told: Told; directory: string; config: string; data: string },
  ) {
    this.#told = options.told;
    this.#service = service;
    this.#random = random;
    this.#directory = options.directory;
    this.#config = options.config;
    this.#data = options.data;
  }

  /** One life, from its start to its end; `killFromInside` has a runner end it. */
  async round(killFromInside: () => void): Promise<void> {
    const random = this.#random;
    // The first life makes the store.
    const opening = this.lives.length === 0 ? 0 : 4;
    const way = random.weighted({ load: 12, long: 1, "opening it": opening, "a runner": 3, "a place": 9 });
    const place = way === "a place" ? random.pick(places) : undefined;
    const life = await this.#launch({ place });
    const serves = this.#serves(life);
    // It is waited for below, at the latest.
    serves.catch(() => {});
    if (way === "opening it") await sleep(this.#startMs * (0.5 + random.fraction() / 2));
    else await Promise.race([serves, this.#service.exited]);
    if (way === "load") await this.#load(random.int(50, 600));
    if (way === "long") await this.#load(random.int(1_100, 2_500));
    if (way === "a place") await this.#dies(passageMaxMs);
    if (way === "a runner") {
      await sleep(random.int(0, 100));
      killFromInside();
      await this.#dies(deathMaxMs);
    }
    const isOver = !this.#service.isAlive;
    await this.#service.kill();
    life.killedMs = Date.now();
    this.reachable.close();
    await serves;
    const hasFired = place !== undefined && existsSync(this.#firedFile(life.number));
    life.killed = hasFired ? place : way !== "a place" ? way : isOver ? "a runner" : "load";
  }

  /** The life that is left to finish. */
  async last(): Promise<void> {
    await this.#serves(await this.#launch({ env: { STINT_LEDGER_IMMORTAL: "1" } }));
  }

  /** Waits for the process to end by itself, up to so long. */
  async #dies(maxMs: number): Promise<void> {
    const waited = new AbortController();
    await Promise.race([this.#service.exited, sleep(maxMs, undefined, { signal: waited.signal }).catch(() => {})]);
    waited.abort();
  }

  /** Lets clients work for a time, and longer on a machine that is so busy that next to nothing has happened by then. */
  async #load(ms: number): Promise<void> {
    const told = this.#told;
    const answers = told.answers + answersMin;
    const shown = told.shown.length + shownMin;
    const isEnough = (): boolean => told.answers >= answers && told.shown.length >= shown;
    await sleep(ms);
    for (let i = 0; i < loadMaxTurns && !isEnough() && this.#service.isAlive; i += 1) await sleep(20);
  }

  #firedFile(number: number): string {
    return join(this.#directory, `fired-${number}`);
  }

  async #launch({ place, env = {} }: { place?: Place; env?: Readonly<Record<string, string>> }): Promise<Life> {
    const number = this.lives.length;
    const ledger = join(this.#directory, `life-${number}.jsonl`);
    const life: Life = { number, ledger, served: false, killedMs: Infinity, killed: undefined };
    const plan = planLife(this.#random, { data: this.#data, firedFile: this.#firedFile(number), place });
    await writeOptions(this.#config, this.#random);
    this.lives.push(life);
    this.#service.launch({ ...env, ...environmentOf(plan), STINT_LEDGER: ledger });
    return life;
  }

  async #serves(life: Life): Promise<void> {
    const since = performance.now();
    try {
      await this.#service.served();
      this.#startMs = performance.now() - since;
      life.served = true;
      // It may have been killed just after it answered.
      if (life.killedMs === Infinity) this.reachable.open();
    } catch (error) {
      // It was killed while it opened, also by a runner that was told to.
      if (this.#service.isAlive || !this.#service.wasKilled) throw error;
    }
  }
}
