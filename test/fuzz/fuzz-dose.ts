/** How much a fuzz rig does, and with which chances. */
export interface FuzzDose {
  readonly count: number;
  /** By default the same each time for the small dose, and another for each large one. */
  readonly seed: number;
  /** A dose was asked for: then the figures are printed. */
  readonly isAsked: boolean;
}

/** The dose that the environment variable `name` asks for, and FUZZ_SEED; `small` by default. */
export function readFuzzDose(name: string, small: number): FuzzDose {
  const asked = process.env[name];
  const count = Number(asked ?? small);
  if (!Number.isSafeInteger(count) || count < 1)
    throw new RangeError(`${name} must be a number from 1 up, not ${asked}`);
  const given = process.env["FUZZ_SEED"];
  const seed = Number(given ?? (asked === undefined ? 7 : Date.now() % 1_000_000_000));
  if (!Number.isSafeInteger(seed)) throw new RangeError(`FUZZ_SEED must be a whole number, not ${given}`);
  return { count, seed, isAsked: asked !== undefined };
}

/** How often each of several things has happened. */
export class Tally<K extends string = string> {
  readonly #counts = new Map<K, number>();

  add(what: K, count = 1): void {
    this.#counts.set(what, this.of(what) + count);
  }

  of(what: K): number {
    return this.#counts.get(what) ?? 0;
  }

  get total(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  toString(): string {
    return [...this.#counts].map(([what, count]) => `${what} ${count}`).join(", ");
  }
}

/** One line of figures. */
export function printFigures(name: string, { count, seed }: FuzzDose, beganMs: number, figures: string): void {
  const seconds = (performance.now() - beganMs) / 1_000;
  const rate = Math.round(count / seconds);
  console.log(`${name}: ${count} inputs in ${seconds.toFixed(0)} s (${rate}/s), FUZZ_SEED=${seed}: ${figures}`);
}
