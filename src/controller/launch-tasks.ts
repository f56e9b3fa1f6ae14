/**
 * Many launches in one call: side by side, so that they share the commits of the store.
 *
 * 1. Launches of the same task id take place in their order.
 * 2. What waits for a runner, and not for the store, holds nobody up but the launches of its task: others begin in its place.
 * 3. Each launch is told once: to `onFree` when it is over or, where that is earlier, to `onWait` when it or one before it of its task begins to wait for a
 *    runner. Not one that the signal has kept from beginning.
 */
import { forEachConcurrently } from "../async/for-each-concurrently.ts";
import { onAbort } from "../async/signals.ts";
import type { LaunchedRun, TaskLaunch } from "./controller.ts";
import type { BatchHooks } from "./served-launches.ts";
import { launchRun } from "./launch-task.ts";
import { checkOpen, type Parts } from "./parts.ts";

/** As many as make a good group commit; more would only wait for it in memory. */
const concurrency = 256;

type Result = PromiseSettledResult<LaunchedRun>;

/** What the launches of a task say. */
interface Hooks {
  readonly onSettled: () => void;
  readonly onWait: () => void;
}

/** See ServedLaunches.launchTasks. */
export async function launchTasks(
  parts: Parts,
  launches: readonly TaskLaunch[],
  { signal }: { signal?: AbortSignal | undefined },
  hooks: BatchHooks = { onFree: () => {}, onWait: () => () => {} },
): Promise<Result[]> {
  checkOpen(parts);
  const results: Array<Result | undefined> = launches.map(() => undefined);
  let off = (): void => {};
  const aborted = new Promise<void>((resolve) => {
    if (signal !== undefined) off = onAbort(signal, resolve);
  });
  async function launchInOrder(indices: readonly number[], { onSettled, onWait }: Hooks): Promise<void> {
    for (const index of indices) {
      const launch = launches[index] as TaskLaunch;
      if (signal?.aborted === true) return;
      try {
        results[index] = { status: "fulfilled", value: await launchRun(parts, launch, onWait) };
      } catch (reason) {
        results[index] = { status: "rejected", reason };
      }
      onSettled();
    }
  }
  const waiting: Promise<void>[] = [];
  async function launchOrWait(indices: readonly number[]): Promise<void> {
    let places = indices.length;
    let goOn = (): void => {};
    const waits = new Promise<true>((resolve) => (goOn = () => resolve(true)));
    let over = (): void => {};
    const onSettled = (): void => {
      if (places === 0) return;
      places -= 1;
      hooks.onFree(1);
    };
    const onWait = (): void => {
      if (places > 0) over = hooks.onWait(places);
      places = 0;
      goOn();
    };
    const launched = launchInOrder(indices, { onSettled, onWait }).then(() => over());
    if ((await Promise.race([launched, waits])) === true) waiting.push(launched);
  }
  const all = forEachConcurrently(byTask(launches).values(), concurrency, launchOrWait).then(() =>
    Promise.all(waiting),
  );
  await Promise.race([all, aborted]);
  off();
  return results.map((result) => result ?? { status: "rejected", reason: signal?.reason as unknown });
}

/** The places of the launches of each task id. */
function byTask(launches: readonly TaskLaunch[]): Map<string, number[]> {
  const places = new Map<string, number[]>();
  for (const [index, { taskId }] of launches.entries()) {
    const found = places.get(taskId);
    if (found === undefined) places.set(taskId, [index]);
    else found.push(index);
  }
  return places;
}
