/**
 * What a server is made of: the store, the controllers on it, the commands that it runs, and the port. Each part is there from
 * when it was opened; they are given up in the order calls, controllers, commands, store.
 */
import { setMaxListeners } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { RunnerKind } from "#gen/stint/v1/controller_pb.js";
import { Lifetime } from "../async/lifetime.ts";
import {
  eraseController,
  type KnownController,
  loadControllerRecords,
  storeControllerRecord,
} from "../controller/controller-records.ts";
import type { TasksChange, WatchTasksOptions } from "../controller/controller.ts";
import { ControllerError } from "../controller/error.ts";
import { type CoreOptions, openController, openRetiredController } from "../controller/open-controller.ts";
import { openRemoteController } from "../controller/open-remote-controller.ts";
import type { RemoteController } from "../controller/remote-link.ts";
import { createStoreGuard, type StoreGuard } from "../controller/store-guard.ts";
import { Quarantine } from "../controller/quarantine.ts";
import { WatchHub } from "../controller/watch-hub.ts";
import { watchTasks } from "../controller/watch-tasks.ts";
import { type Availability, createAvailability, drainingError } from "../rpc/availability.ts";
import { createRegistry } from "../rpc/registry.ts";
import { runnerLimits } from "../rpc/runner-limits.ts";
import { type Commands, openCommands } from "../runner/commands.ts";
import { openBackup } from "./open-backup.ts";
import { type OpenedStore, openStore } from "../store/open.ts";
import type { Store } from "../store/store.ts";
import { createServerDescription } from "./describe-server.ts";
import { type DiskReserve, openDiskReserve } from "./disk-reserve.ts";
import { ServerError } from "./error.ts";
import { fixedLimits } from "./limits.ts";
import { formatAddress } from "./listen-address.ts";
import type { Listener } from "./listener.ts";
import { watchLoop } from "./loop-watch.ts";
import type { ConfiguredRunner } from "./host-runner.ts";
import type { ResolvedController, ResolvedServerOptions } from "./options.ts";
import { writePidFile } from "./pid-file.ts";
import { RemoteControllers } from "./remote-controllers.ts";
import { serve } from "./serve.ts";
import { hostOfCertificate, loadTlsPair, type TlsPair, watchTlsPair } from "./tls-files.ts";

/** As far from src/server/ as from dist/server/. */
const descriptorsUrl = new URL("../../gen/descriptors.binpb", import.meta.url);

/** What the opening of a controller needs to know of it. */
interface ControllerSettings
  extends Pick<ResolvedController, "name" | "limits" | "afterEndMs">,
    Partial<Pick<ResolvedController, "pendingTimeoutMs" | "runningTimeoutMs">> {
  readonly signal?: AbortSignal;
}

/** What is open; each part is there from when it was opened. */
export class ServerParts {
  readonly availability: Availability = createAvailability();
  readonly #options: ResolvedServerOptions;
  readonly #registry = createRegistry();
  /** The controllers that the store knew when it was opened, by name. */
  #records = new Map<string, KnownController>();
  readonly #remote: RemoteControllers;
  #listener: Listener | undefined;
  #tlsHost: string | undefined;
  #endTlsWatch = (): void => {};
  #endLoopWatch = (): void => {};
  #store: OpenedStore | undefined;
  #guard: StoreGuard | undefined;
  #disk: DiskReserve | undefined;
  #removePidFile: (() => Promise<void>) | undefined;
  /** The watches of all controllers. */
  readonly #hub = new WatchHub();
  readonly #closing = new AbortController();
  readonly #lifetime = new Lifetime(() => drainingError());
  #commands: Commands | undefined;

  constructor(options: ResolvedServerOptions) {
    this.#options = options;
    // Every watch of all controllers listens to it: no number of them is a leak.
    setMaxListeners(0, this.#closing.signal);
    this.#remote = new RemoteControllers({
      registry: this.#registry,
      controllersMax: options.limits.runnerControllersMax,
      isConfigured: (name) => this.#isConfigured(name),
      records: () => this.#core(),
      open: (name, signal) => this.#openRemote({ name, ...options, signal }),
    });
  }

  get listener(): Listener {
    if (this.#listener === undefined) throw new Error("the server does not listen yet");
    return this.#listener;
  }

  /** A host for which the certificate is; undefined without one. */
  get tlsHost(): string | undefined {
    return this.#tlsHost;
  }

  async listen(): Promise<void> {
    const { address, clock, random, log, faults, limits, version, loopback, reflection, tls, corsOrigins } =
      this.#options;
    const pair = tls && (await loadTlsPair(tls));
    this.#endLoopWatch = watchLoop({ clock, faults, isServing: () => this.availability.refusal() === undefined });
    const descriptors = reflection ? await readFile(descriptorsUrl) : undefined;
    try {
      this.#listener = await serve({
        ...address,
        tls: pair,
        corsOrigins,
        registry: this.#registry,
        availability: this.availability,
        watchAllTasks: (options) => this.#watchAllTasks(options),
        forgetController: (name) => this.#forgetController(name),
        openRunners: (name) => this.#remote.openFor(name),
        openBackup: () => openBackup(this.#store),
        describeServer: createServerDescription({
          version,
          clock,
          loopback,
          tls: tls !== undefined,
          reflection,
          limits: { ...limits, ...fixedLimits },
          faults,
          store: () => this.#store,
        }),
        descriptors,
        limits,
        clock,
        random,
        log,
        faults,
      });
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      const why = code === "EADDRINUSE" ? "something else listens there" : (code ?? String(error));
      throw new ServerError("LISTEN", `cannot listen on ${formatAddress(address)}: ${why}`, error);
    }
    if (tls === undefined || pair === undefined) return;
    this.#tlsHost = hostOfCertificate(pair, address.host);
    const renew = (renewed: TlsPair): void => this.listener.renewTls(renewed);
    this.#endTlsWatch = watchTlsPair(tls, pair, { clock, log, faults, renew });
  }

  async openStore(): Promise<void> {
    const { store, dataDir, pid, clock, random, log, faults, limits, historyMs, historyBytes } = this.#options;
    this.#store = await openStore(store, { clock, log, faults, historyMs, historyBytes });
    this.#guard = createStoreGuard({ store: this.#store, clock, random, log, faults });
    this.#guard.onChange((healthy) => this.availability.setStoreHealthy(healthy));
    if (dataDir !== undefined) {
      if (pid !== undefined) this.#removePidFile = await writePidFile(dataDir, pid, log);
      this.#disk = await openDiskReserve({ directory: dataDir, limits, clock, log, faults });
    }
    this.#records = await loadControllerRecords(this.#core());
  }

  #watchAllTasks(options: WatchTasksOptions): AsyncIterable<TasksChange> {
    const { clock, faults, limits } = this.#options;
    if (this.#store === undefined || this.#guard === undefined)
      throw new Error("calls are refused until the store is open");
    const watched = {
      store: this.#store,
      guard: this.#guard,
      clock,
      faults,
      hub: this.#hub,
      quarantine: new Quarantine(faults),
      watchersMax: limits.watchersMax,
      closing: this.#closing.signal,
      lifetime: this.#lifetime,
      only: undefined,
      names: () => this.#registry.list().map(({ controller }) => controller.name),
      look: async (name: string, taskId: string) => this.#registry.get(name)?.controller.readTask(taskId),
      // Calls are refused, and watches ended, by the service.
      checkOpen: () => {},
    };
    return watchTasks(watched, options);
  }

  /** What a server that died has left of its commands is ended before any task is resumed. */
  async openCommands(): Promise<void> {
    const { dataDir, clock, random, log } = this.#options;
    const directory = dataDir === undefined ? undefined : join(dataDir, "commands");
    try {
      this.#commands = await openCommands({ directory, clock, random, log });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const message = `a server that died has left commands, which must end before their tasks are resumed: ${why}; end them, or remove ${directory}`;
      throw new ServerError("LEFT_COMMAND", message, error);
    }
  }

  async openController(config: ResolvedController, runner: ConfiguredRunner): Promise<void> {
    const { name, limits } = config;
    const { kind: runnerKind } = runner;
    const known = this.#records.get(name);
    if (known?.runnerKind !== runnerKind || !known.configured) {
      await storeControllerRecord(this.#core(), name, { runnerKind, configured: true });
    }
    if (runner.kind === RunnerKind.REMOTE) {
      const { concurrency = limits.activeMax } = config;
      this.#remote.add(await this.#openRemote({ ...config, limits: { ...limits, activeMax: concurrency } }));
      return;
    }
    const { create, concurrency = limits.activeMax } = runner;
    const controller = await openController({
      ...this.#shared(config),
      runner: create(this.#commands as Commands),
      concurrency: config.concurrency ?? Math.min(concurrency, limits.activeMax),
    });
    this.#registry.add({ controller, runnerKind, runnersConnected: () => 1 });
  }

  #openRemote(config: ControllerSettings): Promise<RemoteController> {
    const { leaseMs, runnersMax } = this.#options.limits;
    const { runnerCapacityMax } = runnerLimits;
    const isServing = (): boolean => this.availability.serving;
    const remote = { leaseMs, runnersMax, runnerCapacityMax, isServing };
    return openRemoteController({ ...this.#shared(config), remote });
  }

  /** What every controller is opened with. */
  #shared({ name, limits, afterEndMs, pendingTimeoutMs, runningTimeoutMs, signal }: ControllerSettings): CoreOptions {
    const { clock, random, log, faults, runnerGraceMs: closeGraceMs } = this.#options;
    const parts = { store: this.#store as Store, guard: this.#guard, clock, random, log, faults };
    const refuseLaunch = () => this.#disk?.refusal();
    const timeouts = { pendingTimeoutMs, runningTimeoutMs };
    return { name, ...parts, signal, retention: { afterEndMs }, refuseLaunch, ...timeouts, limits, closeGraceMs };
  }

  /** Those that the configuration does not name: runners have made them, or it has named them before. */
  async openOtherControllers(): Promise<void> {
    const { log } = this.#options;
    for (const [name, { runnerKind, configured }] of this.#records) {
      if (this.#registry.get(name) !== undefined) continue;
      if (runnerKind === RunnerKind.REMOTE && !configured) {
        await this.#remote.restore(name);
        continue;
      }
      const controller = await openRetiredController(this.#shared({ name, ...this.#options }));
      this.#registry.add({ controller, runnerKind, runnersConnected: () => 0 });
      log.warn({ controller: name }, "a controller that the configuration no longer names takes no launches");
    }
  }

  #isConfigured(name: string): boolean {
    return this.#options.controllers.some((each) => each.name === name);
  }

  async #forgetController(name: string): Promise<void> {
    if (this.#isConfigured(name)) {
      throw new ControllerError(
        "FAILED_PRECONDITION",
        `the configuration names the controller "${name}"; take it out there, and start the server again`,
      );
    }
    if (this.#remote.hasMade(name)) return this.#remote.forget(name);
    await eraseController(this.#core(), name);
    const served = this.#registry.get(name);
    this.#registry.remove(name);
    await served?.controller.close();
  }

  #core(): { store: Store; guard: StoreGuard; lifetime: Lifetime } {
    return { store: this.#store as Store, guard: this.#guard as StoreGuard, lifetime: this.#lifetime };
  }

  async close(graceMs: number): Promise<void> {
    const { log } = this.#options;
    this.#endTlsWatch();
    this.#endLoopWatch();
    await this.#listener?.close(graceMs);
    this.#closing.abort();
    this.#lifetime.end();
    await this.#remote.close();
    // A controller that fails to close must not keep the others, or the store, open.
    const closings = await Promise.allSettled(this.#registry.list().map(({ controller }) => controller.close()));
    for (const closing of closings) {
      if (closing.status === "rejected") log.error({ err: closing.reason as unknown }, "a controller did not close");
    }
    // Runners that were left may still wait for a command to stop, which is killed when that takes too long.
    await this.#commands?.close();
    this.#disk?.close();
    this.#guard?.close();
    await this.#removePidFile?.();
    await this.#store?.close();
  }
}
