import type { Controller, LaunchedRun, LaunchedTask, LaunchOptions, TaskLaunch } from "./controller.ts";

/**
 * A controller as a server asks it, which counts the launches that are under way: a launch says when it needs nothing but a runner, and nothing
 * of the store. Every controller that is opened does.
 */
export interface ServedLaunches extends Controller {
  /** `onWait` is called, maybe more than once, when the launch begins to wait until a runner was told of an end. */
  launchTask(taskId: string, options?: LaunchOptions, onWait?: () => void): Promise<LaunchedTask>;

  /** `onFree` is called with how many launches more are over, or wait for a runner; once for each. */
  launchTasks(
    launches: readonly TaskLaunch[],
    options?: { signal?: AbortSignal | undefined },
    onFree?: (count: number) => void,
  ): Promise<PromiseSettledResult<LaunchedRun>[]>;
}
