import type { Lifetime } from "../async/lifetime.ts";
import type { Clock } from "../clock.ts";
import type { Faults } from "../faults.ts";
import type { Log } from "../log.ts";
import type { ControllerError } from "./error.ts";
import type { Random } from "../random.ts";
import type { Store } from "../store/store.ts";
import type { TaskLimits } from "../task/limits.ts";
import type { Host } from "./host.ts";
import type { Quarantine } from "./quarantine.ts";
import type { StoreGuard } from "./store-guard.ts";
import type { TaskCounts } from "./task-counts.ts";
import type { WatchHub } from "./watch-hub.ts";

/** What a controller holds in memory and for how many, beside what a task may hold. */
export interface ControllerLimits extends TaskLimits {
  /** How many tasks may be offered to runners at one time. */
  readonly activeMax: number;
  /** How many tasks may wait for a runner. */
  readonly waitingMax: number;
  /** How many watches may be open. */
  readonly watchersMax: number;
  /**
   * How many commits a second, and at once, one task may have for its progress alone; progress that comes faster is coalesced.
   * Infinity by default: who opens a controller knows the runner.
   */
  readonly progressPerSecondMax: number;
}

/** What every part of a controller is given. */
export interface Core {
  readonly name: string;
  readonly store: Store;
  readonly guard: StoreGuard;
  readonly host: Host;
  /** Nothing names it any more: it keeps its tasks, and launches none. */
  readonly isRetired: boolean;
  /** Why no new run is taken just now; undefined while they are. What makes none is answered all the same. */
  readonly refuseLaunch: () => ControllerError | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly faults: Faults;
  readonly limits: ControllerLimits;
  readonly hub: WatchHub;
  readonly quarantine: Quarantine;
  readonly counts: TaskCounts;
  /** Aborted when the controller begins to close. */
  readonly closing: AbortSignal;
  /** Over when it has closed: from then on it writes nothing, starts nothing and calls nobody. */
  readonly lifetime: Lifetime;
}

/** What a host is made with. */
export type HostCore = Omit<Core, "host">;
