/**
 * The thread of the handlers: takes what the session says of tasks, and runs the runner's handlers.
 *
 * open -> draining (no more tasks; those there are go on) -> stopping (they were told to stop) -> closed.
 *
 * No more handlers run than there are places, those included that do not stop though their task was lost, which the server does not count:
 * while they take the places, an offer waits here, not accepted, and goes to another runner if that takes too long.
 */
import { RunPhase } from "#gen/stint/v1/runner_pb.js";
import type { TaskRunner } from "../controller/task-runner.ts";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { HostedTask, type HostedTaskPorts } from "./hosted-task.ts";
import type { OfferedTask } from "./offered-task.ts";
import { type HostLimits, hostLimitsOf } from "./remote-limits.ts";
import type { GrpcStatus, ToHandlers, ToSession } from "./thread-messages.ts";

export interface HostedTasksOptions {
  readonly runner: TaskRunner;
  /** How many handlers run at one time. */
  readonly capacity: number;
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
  /** Whose handler does its work; some were lost. */
  readonly #running = new Set<HostedTask>();
  /** Offers for which there is no place yet, by their fences. */
  readonly #waiting = new Map<bigint, OfferedTask>();
  readonly #ports: HostedTaskPorts;
  #limits: HostLimits = hostLimitsOf({});
  #cancelTimer: () => void = () => {};
  #state: "open" | "draining" | "stopping" | "closed" = "open";

  constructor(options: HostedTasksOptions) {
    this.#options = options;
    const { runner, log, clock, post } = options;
    this.#ports = {
      runner,
      log,
      clock,
      post,
      began: (task) => void this.#running.add(task),
      settled: (task) => {
        this.#running.delete(task);
        this.#takeWaiting();
      },
    };
  }

  receive(message: ToHandlers): void {
    switch (message.type) {
      case "limits":
        this.#limits = hostLimitsOf(message.limits);
        return;
      case "offer":
        return this.#offered(message.offer);
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
    this.#waiting.clear();
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

  #offered(offer: OfferedTask): void {
    const known = this.#tasks.get(offer.fence);
    if (known !== undefined) return known.begin(offer, this.#limits);
    // It was on its way when the session was told to take no more, which forgets it by that.
    if (this.#state !== "open") return;
    if (offer.phase !== RunPhase.COMPLETED && this.#running.size >= this.#options.capacity) {
      this.#waiting.set(offer.fence, offer);
      return;
    }
    const task = new HostedTask(offer, this.#limits, this.#ports);
    this.#tasks.set(offer.fence, task);
    task.begin(offer, this.#limits);
  }

  #takeWaiting(): void {
    const [next] = this.#waiting.values();
    if (next === undefined) return;
    this.#waiting.delete(next.fence);
    this.#offered(next);
  }

  #lost(fence: bigint): void {
    this.#waiting.delete(fence);
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
