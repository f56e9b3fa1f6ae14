/** Where the server's process kills itself, and how its store is tuned; inside.mjs does what stands here. */
import { join } from "node:path";
import type { SeededRandom } from "../../support/seeded-random.ts";
import { repositoryRoot } from "../../support/served-process.ts";

/**
 * Before a group's batch is written, when it is written and nobody was told, when all were told and nobody has answered, around
 * the batches that materialize and let go of history, when LevelDB begins a table, and at a step of opening the store.
 */
export const places = [
  "before the batch",
  "after the batch",
  "after publishing",
  "around a round",
  "compacting",
  "opening",
] as const;
export type Place = (typeof places)[number];

/** Where the n-th passage is drawn from: about as many as there are in the time that such a life is given. */
const passagesMax: Readonly<Record<Place, number>> = {
  "before the batch": 80,
  "after the batch": 80,
  "after publishing": 200,
  "around a round": 10,
  compacting: 3,
  opening: 50,
};

/** None of this changes what is promised. */
export interface Plan {
  /** The store's directory. */
  readonly data: string;
  readonly place: Place | undefined;
  readonly passage: number;
  /** There once the process has killed itself. */
  readonly firedFile: string;
  /** Options of the store, see LevelStoreOptions. */
  readonly store: { readonly roundKeys: number; readonly roundDelayMs: number; readonly groupMaxCommits: number };
  readonly writeBufferBytes: number;
}

export function planLife(
  random: SeededRandom,
  life: { data: string; firedFile: string; place: Place | undefined },
): Plan {
  const { place } = life;
  return {
    ...life,
    passage: place === undefined ? 0 : random.int(1, passagesMax[place]),
    store: {
      roundKeys: random.pick([16, 200, 2_048]),
      roundDelayMs: random.pick([20, 200, 1_000]),
      groupMaxCommits: random.pick([1, 8, 1_024, 1_024]),
    },
    // Without compactions nobody can be killed in one.
    writeBufferBytes: place === "compacting" ? 1 << 16 : random.pick([1 << 16, 1 << 20, 16 << 20]),
  };
}

/** The environment in which a server's process has the plan. */
export function environmentOf(plan: Plan): Record<string, string> {
  const inside = join(repositoryRoot, "test/e2e/kill-rounds/inside.mjs");
  return { NODE_OPTIONS: `--import=${inside}`, STINT_KILL_PLAN: JSON.stringify(plan) };
}
