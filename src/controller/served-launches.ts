import type { Controller, LaunchedRun, LaunchedTask, LaunchOptions, TaskLaunch } from "./controller.ts";

/**
 * A controller as a server asks it, which counts the launches that are under way: a launch says when it needs nothing but a runner, and nothing
 * of the store. Every controller that is opened does.
 */
export interface ServedLaunches extends Controller {
  /** `onWait` is called, maybe more than once, when the launch begins to wait until a runner was told of an end. Where it throws the launch fails with that. */
  launchTask(taskId: string, options?: LaunchOptions, onWait?: () => void): Promise<LaunchedTask>;

  launchTasks(
    launches: readonly TaskLaunch[],
    options?: { signal?: AbortSignal | undefined },
    hooks?: BatchHooks,
  ): Promise<PromiseSettledResult<LaunchedRun>[]>;
}

/** Each launch is told once to one of the two, but those that the signal has kept from beginning. */
export interface BatchHooks {
  /** So many launches are over. */
  onFree(count: number): void;
  /**
   * So many begin to wait for a runner. What it returns is called when they are over, also where nobody waits for the batch any more. Where
   * it throws the launch fails with that.
   */
  onWait(count: number): () => void;
}
