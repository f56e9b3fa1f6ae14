/** Starts the server and kills it: at any moment of its load, while it still opens, or at a moment that a runner picks from inside. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { SeededRandom } from "../../support/seeded-random.ts";
import type { ServedProcess } from "../../support/served-process.ts";
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
}

const deathMaxMs = 5_000;
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
  /** How long the last start took that came to its end: most of it passes before the store is opened. */
  #startMs = 0;

  constructor(service: ServedProcess, random: SeededRandom, options: { told: Told; directory: string }) {
    this.#told = options.told;
    this.#service = service;
    this.#random = random;
    this.#directory = options.directory;
  }

  /** One life, from its start to its end; `killFromInside` has a runner end it. */
  async round(killFromInside: () => void): Promise<void> {
    const random = this.#random;
    // The first life makes the store.
    const way = random.weighted({ load: 12, long: 1, opening: this.lives.length === 0 ? 0 : 4, inside: 3 });
    const life = this.#launch();
    const serves = this.#serves(life);
    await (way === "opening" ? sleep(this.#startMs * (0.5 + random.fraction() / 2)) : serves);
    if (way === "load") await this.#load(random.int(50, 600));
    if (way === "long") await this.#load(random.int(1_100, 2_500));
    if (way === "inside") {
      await sleep(random.int(0, 100));
      killFromInside();
      const waited = new AbortController();
      await Promise.race([
        this.#service.exited,
        sleep(deathMaxMs, undefined, { signal: waited.signal }).catch(() => {}),
      ]);
      waited.abort();
    }
    life.killedMs = Date.now();
    await this.#service.kill();
    this.reachable.close();
    await serves;
  }

  /** The life that is left to finish. */
  async last(): Promise<void> {
    await this.#serves(this.#launch({ STINT_LEDGER_IMMORTAL: "1" }));
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

  #launch(env: Readonly<Record<string, string>> = {}): Life {
    const number = this.lives.length;
    const ledger = join(this.#directory, `life-${number}.jsonl`);
    const life: Life = { number, ledger, served: false, killedMs: Infinity };
    this.lives.push(life);
    this.#service.launch({ ...env, STINT_LEDGER: ledger });
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
