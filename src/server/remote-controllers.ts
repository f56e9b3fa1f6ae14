/**
 * The controllers whose tasks are run by whoever connects. It owns those that runners have made, by a hello that named them.
 *
 * States of a name: unknown -> made -> unknown (forgotten).
 *
 * 1. What is done with a name is done one thing after the other: no two openings, and no erasure beside one.
 * 2. A controller is known on disk before it is open, so that its tasks are found at the next start.
 * 3. One that has a task, or a runner that is connected, is not forgotten. A runner that comes in between is told to come again, and finds a new one.
 * 4. The names of the configuration, now or before, are not made.
 */
import { RunnerKind } from "#gen/stint/v1/controller_pb.js";
import { eraseController, storeControllerRecord } from "../controller/controller-records.ts";
import { ControllerError, limitError } from "../controller/error.ts";
import { whyRetired } from "../controller/no-host.ts";
import type { RemoteController, RemoteRunners } from "../controller/remote-link.ts";
import { drainingError } from "../rpc/availability.ts";
import type { MutableRegistry } from "../rpc/registry.ts";

export interface RemoteControllersOptions {
  readonly registry: MutableRegistry;
  /** How many runners may make. */
  readonly controllersMax: number;
  /** Whether the configuration names it. */
  readonly isConfigured: (name: string) => boolean;
  /** Where controllers are recorded. */
  readonly records: () => Parameters<typeof storeControllerRecord>[0];
  /** Opens the controller; `signal` ends the opening. */
  readonly open: (name: string, signal: AbortSignal) => Promise<RemoteController>;
}

export class RemoteControllers {
  readonly #options: RemoteControllersOptions;
  readonly #made = new Set<string>();
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #closing = new Map<string, AbortController>();
  #isClosed = false;

  constructor(options: RemoteControllersOptions) {
    this.#options = options;
  }

  /** Opens one that a runner has made before this start. */
  async restore(name: string): Promise<void> {
    this.#made.add(name);
    await this.#inTurn(name, () => this.#open(name));
  }

  /** Shows an open one, that the configuration names or a runner has made. */
  add(controller: RemoteController): RemoteRunners {
    const { runners } = controller;
    this.#options.registry.add({
      controller,
      runnerKind: RunnerKind.REMOTE,
      runners,
      runnersConnected: () => runners.connected,
    });
    return runners;
  }

  /** See OpenRunners. */
  async openFor(name: string): Promise<RemoteRunners> {
    return this.#find(name) ?? this.#inTurn(name, () => this.#make(name));
  }

  /** Whether a runner has made it. */
  hasMade(name: string): boolean {
    return this.#made.has(name);
  }

  /** Forgets one that a runner has made. Throws FAILED_PRECONDITION where it has a task or a runner, and UNAVAILABLE. */
  forget(name: string): Promise<void> {
    return this.#inTurn(name, () => this.#forget(name));
  }

  /** No more are opened; resolves when none is being opened. What is open is closed by whoever has the registry. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const closing of this.#closing.values()) closing.abort();
    await Promise.allSettled(this.#turns.values());
  }

  /** The runners of a controller that is open. Throws FAILED_PRECONDITION where it has none. */
  #find(name: string): RemoteRunners | undefined {
    const { registry, isConfigured } = this.#options;
    const served = registry.get(name);
    if (served === undefined || served.runners !== undefined) return served?.runners;
    const why = isConfigured(name)
      ? `the server itself runs the tasks of the controller "${name}"`
      : `${whyRetired(name)}; it takes no runners`;
    throw new ControllerError("FAILED_PRECONDITION", why);
  }

  async #make(name: string): Promise<RemoteRunners> {
    const found = this.#find(name);
    if (found !== undefined) return found;
    const { controllersMax, records } = this.#options;
    if (this.#made.size >= controllersMax) {
      const message = `runners have made ${controllersMax} controllers, which is the limit; delete one that is not used any more`;
      throw limitError("runner_controllers_max", controllersMax, message, 5_000);
    }
    this.#made.add(name);
    try {
      await storeControllerRecord(records(), name, { runnerKind: RunnerKind.REMOTE, configured: false });
      return await this.#open(name);
    } catch (error) {
      this.#made.delete(name);
      throw error;
    }
  }

  async #open(name: string): Promise<RemoteRunners> {
    const closing = new AbortController();
    this.#closing.set(name, closing);
    try {
      return this.add(await this.#options.open(name, closing.signal));
    } finally {
      this.#closing.delete(name);
    }
  }

  async #forget(name: string): Promise<void> {
    const { registry, records } = this.#options;
    const served = registry.get(name);
    if (served === undefined) return;
    if (served.runnersConnected() > 0)
      throw new ControllerError("FAILED_PRECONDITION", `the controller "${name}" has runners that are connected`);
    if ([...(await served.controller.countTasks()).values()].some((count) => count > 0n)) throw hasTasks(name);
    // A launch may be under way: what it has stored is seen when the controller has closed.
    registry.remove(name);
    await served.controller.close();
    try {
      await eraseController(records(), name);
      this.#made.delete(name);
    } catch (error) {
      await this.#open(name);
      throw error;
    }
  }

  async #inTurn<T>(name: string, act: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(name);
    const turn = (async () => {
      await before?.catch(() => {});
      if (this.#isClosed) throw drainingError();
      return act();
    })();
    this.#turns.set(name, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(name) === turn) this.#turns.delete(name);
    }
  }
}

function hasTasks(name: string): ControllerError {
  return new ControllerError("FAILED_PRECONDITION", `the controller "${name}" has tasks; delete them first`);
}
