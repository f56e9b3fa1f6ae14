import { Arrival } from "./arrival.ts";
import { commit } from "./commit.ts";
import type { Core } from "./core.ts";
import type { Parts } from "./parts.ts";
import type { Run } from "./run.ts";

/** How long the store has to take that runs are given up. */
const abandonMs = 2_000;

/** How a controller is closed. */
export interface Closing {
  readonly graceMs: number;
  readonly ownGuard: boolean;
  /** What the controller does of itself. */
  readonly working: Promise<void>;
}

/**
 * Tells the runners to stop and waits for them, and for what else is under way; after the grace time the
 * rest is left as it is on disk, to be resumed at the next opening.
 */
export async function closeParts(parts: Parts, closing: AbortController, options: Closing): Promise<void> {
  const { core, actors, trash } = parts;
  closing.abort();
  core.hub.close();
  core.host.close();
  // One on another machine goes on, whatever it was told before.
  for (const { run } of actors.all()) if (run?.isRemote === false) run.abort("SHUTDOWN");
  // An end is told after its run is over, and a call under way may still start a run: it is over when nobody holds a task.
  const all = Promise.all([options.working, actors.idle()]).then(() => trash.settled());
  if (!(await new Arrival(all).within(core.clock, options.graceMs)))
    core.log.warn({}, `controller "${core.name}": runners did not stop in time, and are waited for no longer`);
  // What still runs writes no more: its run is over, and a store that fails is waited for no longer.
  const left = [...actors.all()].flatMap(({ run }) => (run === undefined ? [] : [abandon(core, run)]));
  await new Arrival(Promise.all(left)).within(core.clock, abandonMs);
  core.lifetime.end();
  if (options.ownGuard) core.guard.close();
}

/** Gives up a run that does not stop, so that the next opening takes it for no death. */
async function abandon(core: Core, run: Run): Promise<void> {
  if (run.isOver) return;
  run.end();
  if (run.isRemote || !core.guard.healthy) return;
  try {
    await commit(core, run.releaseChanges, [{ key: run.leaseKey, revision: run.fence }], "once");
  } catch (error) {
    core.faults.note(
      "background_errors",
      { err: error, taskId: run.taskId },
      "a run that did not stop is left as it is on disk",
    );
  }
}
