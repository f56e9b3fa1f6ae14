/**
 * The thread of the handlers: takes what the session says of tasks, and runs the runner's handlers.
 *
 * open -> draining (no more tasks; those there are go on) -> stopping (they were told to stop) -> closed.
 */
import type { TaskRunner } from "../controller/task-runner.ts";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { HostedTask } from "./hosted-task.ts";
import type { GrpcStatus, ToHandlers, ToSession } from "./thread-messages.ts";

export interface HostedTasksOptions {
  readonly runner: TaskRunner;
  readonly log: Log;
  readonly clock: Clock;
  /** How long tasks may go on once draining, in ms. */
  readonly drainMs: number;
  readonly post: (message: ToSession) => void;
  /** Called once, when nothing more comes. */
  readonly closed: (error?: GrpcStatus) => void;
}

/** How long handlers that were told to stop are waited for: a command has 5 s until it is killed. */
const stopMaxMs = 10_000;

export class HostedTasks {
  readonly #options: HostedTasksOptions;
  readonly #tasks = new Map<bigint, HostedTask>();
  #cancelTimer: () => void = () => {};
  #state: "open" | "draining" | "stopping" | "closed" = "open";

  constructor(options: HostedTasksOptions) {
    this.#options = options;
  }

  receive(message: ToHandlers): void {
    switch (message.type) {
      case "offer":
        return this.#offered(message);
      case "answered":
        if (this.#tasks.get(message.fence)?.answered(message.seq, message.error)) this.#tasks.delete(message.fence);
        return;
      case "abort":
        return this.#tasks.get(message.fence)?.tell(message.reason);
      case "lost":
        return this.#lost(message.fence);
      case "log":
        return this.#options.log[message.level](message.fields, message.message);
      case "closed":
        return this.#closed(message.error);
    }
  }

  /** Takes no more tasks; those there are may go on for `drainMs`, and are told to stop then. */
  drain(): void {
    if (this.#state !== "open") return;
    this.#state = "draining";
    const { post, clock, drainMs } = this.#options;
    post({ type: "drain" });
    this.#cancelTimer = clock.after(drainMs, () => this.stop());
  }

  /** Takes no more tasks, and tells those there are to stop. */
  stop(): void {
    this.drain();
    if (this.#state !== "draining") return;
    this.#state = "stopping";
    this.#cancelTimer();
    for (const task of this.#tasks.values()) task.abort("SHUTDOWN");
    this.#cancelTimer = this.#options.clock.after(stopMaxMs, () => {
      const taskIds = [...this.#tasks.values()].filter((task) => task.isRunning).map(({ taskId }) => taskId);
      const message =
        "handlers did not stop, or the server cannot be reached: tasks are left, and offered to others when the lease is over";
      this.#options.log.warn({ taskIds: taskIds.slice(0, 10), count: taskIds.length }, message);
      this.#options.post({ type: "stop" });
    });
  }

  #offered({ offer, limits }: Extract<ToHandlers, { type: "offer" }>): void {
    const { runner, log, post } = this.#options;
    const known = this.#tasks.get(offer.fence);
    // It was on its way when the session was told to take no more, which forgets it by that.
    if (known === undefined && this.#state !== "open") return;
    const task = known ?? new HostedTask(offer, limits, { runner, log, post });
    this.#tasks.set(offer.fence, task);
    task.begin(offer, limits);
  }

  #lost(fence: bigint): void {
    const task = this.#tasks.get(fence);
    if (task === undefined) return;
    this.#tasks.delete(fence);
    if (task.isRunning) {
      const fields = { taskId: task.taskId, fence: String(fence) };
      this.#options.log.warn(fields, "a task is not this runner's any more; its handler is told to stop");
    }
    task.lose();
  }

  #closed(error: GrpcStatus | undefined): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#cancelTimer();
    for (const fence of [...this.#tasks.keys()]) this.#lost(fence);
    this.#options.closed(error);
  }
}
