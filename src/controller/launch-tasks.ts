/** Many launches in one call: side by side, so that they share the commits of the store. */
import { forEachConcurrently } from "../async/for-each-concurrently.ts";
import { onAbort } from "../async/signals.ts";
import type { LaunchedRun, TaskLaunch } from "./controller.ts";
import { launchRun } from "./launch-task.ts";
import { checkOpen, type Parts } from "./parts.ts";

/** As many as make a good group commit; more would only wait for it in memory. */
const concurrency = 256;

type Result = PromiseSettledResult<LaunchedRun>;

/** See Controller.launchTasks. */
export async function launchTasks(
  parts: Parts,
  launches: readonly TaskLaunch[],
  { signal }: { signal?: AbortSignal | undefined },
): Promise<Result[]> {
  checkOpen(parts);
  const results: Array<Result | undefined> = launches.map(() => undefined);
  let off = (): void => {};
  const aborted = new Promise<void>((resolve) => {
    if (signal !== undefined) off = onAbort(signal, resolve);
  });
  const all = forEachConcurrently(byTask(launches).values(), concurrency, async (indices) => {
    for (const index of indices) {
      const launch = launches[index] as TaskLaunch;
      if (signal?.aborted === true) return;
      try {
        results[index] = { status: "fulfilled", value: await launchRun(parts, launch.taskId, launch) };
      } catch (reason) {
        results[index] = { status: "rejected", reason };
      }
    }
  });
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
