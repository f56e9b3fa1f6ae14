import { onAbort, settledOrAborted } from "../async/signals.ts";
import { sleep } from "../clock.ts";
import type { Parts } from "./parts.ts";
import type { Wakeup } from "./watch-hub.ts";

/** How long a wait may take. */
export interface WaitLimits {
  /** At most so long, in ms; undefined: as long as it takes. */
  readonly waitMs: number | undefined;
  /** Ends the wait. */
  readonly signal: AbortSignal | undefined;
}

/**
 * Looks at the task, and again after each of its changes, until `isOver` says that the wait is; or its time is over, its
 * signal is aborted or the controller closes, whichever is first. Rejects with what `isOver` rejects with. Closes `wakeup`.
 */
export async function waitForEnd(
  { core }: Parts,
  wakeup: Wakeup,
  isOver: () => Promise<boolean>,
  limits: WaitLimits,
): Promise<void> {
  const over = new AbortController();
  const stop = (): void => over.abort();
  onAbort(over.signal, () => wakeup.close());
  const offs = [onAbort(core.closing, stop)];
  if (limits.signal !== undefined) offs.push(onAbort(limits.signal, stop));
  const timeout = limits.waitMs === undefined ? undefined : sleep(core.clock, limits.waitMs, over.signal).then(stop);
  try {
    while (!over.signal.aborted) {
      const { version } = wakeup;
      const looking = isOver();
      // A look may wait for a store that is slow; nobody waits for it longer than was asked for.
      await settledOrAborted(looking, over.signal);
      if (over.signal.aborted || (await looking)) return;
      await wakeup.after(version);
    }
  } finally {
    stop();
    for (const off of offs) off();
    await timeout;
  }
}
