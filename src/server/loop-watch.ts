import type { Clock } from "../clock.ts";
import type { Faults } from "../faults.ts";

const lookMs = 250;
const stallMs = 250;

export interface LoopWatchOptions {
  readonly clock: Clock;
  readonly faults: Faults;
  /** Whether anybody would be kept waiting: what a start or an end takes of the loop is nobody's fault. */
  readonly isServing: () => boolean;
}

/**
 * Notices where the event loop stood still, as what blocks it keeps all calls waiting: each of half a second or more, and some that
 * are shorter. The returned function ends it.
 */
export function watchLoop({ clock, faults, isServing }: LoopWatchOptions): () => void {
  let dueMs = 0;
  let counts = false;
  let cancel = (): void => {};
  const arrange = (): void => {
    counts = isServing();
    dueMs = clock.mono() + lookMs;
    cancel = clock.after(lookMs, look);
  };
  const look = (): void => {
    const lateMs = Math.round(clock.mono() - dueMs);
    if (counts && lateMs >= stallMs)
      faults.note("loop_stalls", { lateMs }, "the process stood still: something blocked it, or it got no processor");
    arrange();
  };
  arrange();
  return () => cancel();
}
