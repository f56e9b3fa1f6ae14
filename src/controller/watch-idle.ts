/** What WatchTask does while there is nothing to show. */
import { Arrival } from "./arrival.ts";
import type { TaskChange } from "./controller.ts";
import type { Parts } from "./parts.ts";
import type { Wakeup } from "./watch-hub.ts";

/** After so long a silence there is a bookmark. */
export const bookmarkMs = 15_000;

/** What a watch waits for. */
export interface Waiting {
  /** Aborted when the watcher leaves or the controller closes. */
  readonly signal: AbortSignal;
  readonly wakeup: Wakeup;
}

/** A message that has a revision only: everything up to it was sent. */
export function bookmark(revision: bigint): TaskChange {
  return { revision, status: undefined, logs: [] };
}

/**
 * Bookmarks, until the task has changed since `version`. Where this round said nothing, it ends too when a bookmark is
 * due, which is for the next round. Returns when something was said last.
 */
export async function* idle(
  parts: Parts,
  { signal, wakeup }: Waiting,
  version: number,
  { spokenMs, spoke }: { spokenMs: number; spoke: boolean },
): AsyncGenerator<TaskChange, number> {
  const { clock, store, guard } = parts.core;
  const change = new Arrival(wakeup.after(version));
  if (!spoke && guard.healthy) {
    await change.within(clock, Math.max(0, spokenMs + bookmarkMs - clock.mono()));
    return spokenMs;
  }
  let lastMs = spokenMs;
  while (wakeup.version === version && !signal.aborted) {
    // Whatever is durable by now is either of another task or wakes this watch.
    const revision = store.revision();
    await change.within(clock, bookmarkMs);
    // While the store fails a commit may be in doubt that `revision` covers.
    if (wakeup.version !== version || signal.aborted || !guard.healthy) continue;
    yield bookmark(revision);
    lastMs = clock.mono();
  }
  return lastMs;
}
