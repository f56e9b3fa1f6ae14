/** A controller on a store in memory, with a clock that stands still and a runner in the hands of the test. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import type { Controller, LaunchOptions, QueryOptions, TaskPage } from "../../src/controller/controller.ts";
import { ControllerError } from "../../src/controller/error.ts";
import {
  type ControllerOptions,
  type Hosting,
  openController,
  openCore,
  openRetiredController,
} from "../../src/controller/open-controller.ts";
import { openRemoteController } from "../../src/controller/open-remote-controller.ts";
import type { RemoteController, RemoteOptions, RemoteRunners } from "../../src/controller/remote-link.ts";
import type { ServedLaunches } from "../../src/controller/served-launches.ts";
import { Faults } from "../../src/faults.ts";
import type { Log } from "../../src/log.ts";
import { decodeTask, type StoredTask } from "../../src/store/codec.ts";
import { taskKey } from "../../src/store/keys.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import type { Store } from "../../src/store/store.ts";
import { stateName } from "../../src/task/state.ts";
import { checkConsistency, type ConsistencyOptions } from "./check-consistency.ts";
import { CutStore } from "./cut-store.ts";
import { createFakeClock, type FakeClock } from "./fake-clock.ts";
import { ScriptedRunner } from "./scripted-runner.ts";

export const controllerName = "tests";
/** What is kept unless a test is about cleaning. */
const keepAll = { afterEndMs: 365 * 24 * 3_600_000 };

export type HarnessOptions = Partial<ControllerOptions> & {
  /** Over the store of all processes; one of its own each. */
  readonly wrap?: ((store: Store) => Store) | undefined;
  /** Opens it as one that nothing names any more, without a runner. */
  readonly retired?: boolean | undefined;
  /** Whether its runner has a pending phase, as it has by default. */
  readonly prepares?: boolean | undefined;
  /** Opens it with another host than this process. */
  readonly hosting?: Hosting | undefined;
  /** Opens it as one whose tasks are run by those who connect. */
  readonly remote?: RemoteOptions | undefined;
};

export class Harness implements AsyncDisposable {
  readonly clock: FakeClock = createFakeClock();
  readonly runner = new ScriptedRunner();
  readonly logged: Array<{ level: string; fields: Record<string, unknown>; message: string }> = [];
  /** Of all its processes. */
  readonly faults = new Faults({ clock: this.clock, log: this.#log() });
  /** What is on disk, whatever the processes do. */
  readonly disk: Store;
  readonly options: HarnessOptions;
  #handle: CutStore | undefined;
  #controller: Controller | RemoteController | undefined;
  #ids = 0;

  constructor(disk: Store, options: HarnessOptions) {
    this.disk = disk;
    this.options = options;
    if (options.prepares === false) this.runner.skipPending();
  }

  get controller(): ServedLaunches {
    if (this.#controller === undefined) throw new Error("no controller was opened");
    return this.#controller;
  }

  /** Where runners of a remote controller connect. */
  get runners(): RemoteRunners {
    const { controller } = this;
    if (!("runners" in controller)) throw new Error("the controller is not remote");
    return (controller as RemoteController).runners;
  }

  /** The process's own handle on the store. */
  get handle(): CutStore {
    if (this.#handle === undefined) throw new Error("no controller was opened");
    return this.#handle;
  }

  /** Opens a controller, in a process of its own. */
  async open(options: HarnessOptions = {}): Promise<Controller> {
    const { wrap, hosting, remote, retired = false, prepares: _, ...rest } = { ...this.options, ...options };
    const handle = new CutStore(wrap?.(this.disk) ?? this.disk);
    this.#handle = handle;
    const shared = {
      name: controllerName,
      store: this.#handle,
      clock: this.clock,
      random: { id: () => `id-${(this.#ids += 1)}`, fraction: () => 0.5 },
      log: this.#log(),
      faults: this.faults,
      retention: keepAll,
      runner: this.runner.inProcess(() => handle.isCut),
      ...rest,
    };
    if (hosting !== undefined) this.#controller = await openCore(shared, hosting);
    else if (remote !== undefined) this.#controller = await openRemoteController({ ...shared, remote });
    else this.#controller = retired ? await openRetiredController(shared) : await openController(shared);
    return this.#controller;
  }

  /** The process dies as it is, and another one takes its place. */
  async crash(options: HarnessOptions = {}): Promise<Controller> {
    this.handle.cut();
    this.runner.abandon();
    return this.open(options);
  }

  /** Closes, with runners that stop when they are told to, and opens again. */
  async reopen(options: HarnessOptions = {}): Promise<Controller> {
    await this.close();
    return this.open(options);
  }

  async close(): Promise<void> {
    const closing = this.controller.close();
    await this.settle();
    for (const phase of this.runner.phases) if (!phase.isSettled && phase.signal.aborted) phase.stop();
    await closing;
    this.runner.abandon();
  }

  /** Lets everything happen that needs no time to pass. */
  async settle(): Promise<void> {
    for (let i = 0; i < 5; i += 1) await nextTurn();
  }

  async launch(taskId: string, options: LaunchOptions = {}) {
    return this.controller.launchTask(taskId, options);
  }

  /** The state's name. */
  async state(taskId: string): Promise<string> {
    return stateName((await this.controller.taskStatus(taskId)).state);
  }

  async states(...taskIds: string[]): Promise<string[]> {
    return Promise.all(taskIds.map((taskId) => this.state(taskId)));
  }

  /** The states that the task went through, and why. */
  async transitions(taskId: string): Promise<string[]> {
    return transitionsOf(await this.controller.taskStatus(taskId));
  }

  /** The task as it lies on disk. */
  async stored(taskId: string): Promise<StoredTask | undefined> {
    const entry = await this.disk.get(taskKey(controllerName, taskId));
    return entry && decodeTask(entry.value);
  }

  /** The keys on disk that begin so. */
  async keys(prefix: string): Promise<string[]> {
    return (await this.disk.scan({ prefix, limit: 1_000_000 })).map((entry) => entry.key);
  }

  async check(options: ConsistencyOptions = {}): Promise<void> {
    await checkConsistency(this.disk, controllerName, { controller: this.#controller, ...options });
  }

  /** All ids of a query, page by page. */
  async query(options: QueryOptions = {}): Promise<string[]> {
    return (await this.pages(options)).flatMap((page) => page.tasks.map((task) => task.taskId));
  }

  async pages(options: QueryOptions = {}): Promise<TaskPage[]> {
    const pages: TaskPage[] = [];
    let pageToken = "";
    do {
      const page = await this.controller.queryTasks({ ...options, pageToken });
      pages.push(page);
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    return pages;
  }

  messages(level: string): string[] {
    return this.logged.filter((each) => each.level === level).map((each) => each.message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#controller === undefined || this.handle.isCut) return;
    await this.settle();
    await this.check();
    this.runner.abandon();
    const closing = this.#controller.close();
    await this.clock.advance(40_000);
    await closing;
    await this.settle();
  }

  #log(): Log {
    const at = (level: string) => (fields: object, message: string) => {
      // As loggers do: an error's fields are read.
      const { err } = fields as { err?: unknown };
      if (err instanceof Error) JSON.stringify([err.name, err.message, err.stack]);
      else if (err !== undefined) JSON.stringify(err);
      this.logged.push({ level, fields: { ...fields }, message });
    };
    return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
  }
}

/** A harness without a controller. */
export async function createHarness(options: HarnessOptions = {}): Promise<Harness> {
  return new Harness(await openMemoryStore(), options);
}

/** A harness with an open controller. When it is disposed of, what is on disk is checked (check-consistency.ts). */
export async function openHarness(options: HarnessOptions = {}): Promise<Harness> {
  const harness = await createHarness(options);
  await harness.open();
  return harness;
}

export function transitionsOf(status: TaskStatus): string[] {
  return status.transitions.map(({ state, reason }) =>
    reason === "" ? stateName(state) : `${stateName(state)}: ${reason}`,
  );
}

/** The code a call is refused with; throws where it is not refused, or with another error than a ControllerError. */
export async function refusal(call: Promise<unknown>): Promise<ControllerError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof ControllerError) return error;
    throw error;
  }
  throw new Error("the call was not refused");
}

/** The fields that an INVALID_ARGUMENT names. */
export async function invalidFields(call: Promise<unknown>): Promise<string[]> {
  const error = await refusal(call);
  if (error.code !== "INVALID_ARGUMENT") throw error;
  return (error.details.violations ?? []).map((violation) => violation.field);
}

/** A promise, and whether it has settled. */
export function observed<T>(promise: Promise<T>): { promise: Promise<T>; state: () => "waiting" | "done" | "failed" } {
  let state: "waiting" | "done" | "failed" = "waiting";
  promise.then(
    () => (state = "done"),
    () => (state = "failed"),
  );
  return { promise, state: () => state };
}
