import { randomUUID } from "node:crypto";

/** Randomness as a port. */
export interface Random {
  /** A new identifier that nobody else has. */
  id(): string;
  /** A number in [0, 1), for jitter. */
  fraction(): number;
}

/** The machine's randomness. */
export const systemRandom: Random = {
  id: () => randomUUID(),
  fraction: () => Math.random(),
};
