/**
 * The composition root: the store, the controllers on it, and the port.
 *
 * It owns all three, and gives them up in this order: calls, controllers, the commands they have started, store.
 *
 * States: starting -> serving -> draining -> closed; from any of them to closed.
 *
 * 1. The port is open before the store is, and refuses calls until all is there: an
 *    address that is taken is found out before any task is resumed.
 * 2. What was opened when a start fails is closed again.
 * 3. Closing ends within `closeMaxMs`, whatever a client or a runner does. Nothing that was
 *    acknowledged is lost by that: it is on disk already.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Lifetime } from "../async/lifetime.ts";
import { sleep } from "../clock.ts";
import { eraseController, loadControllerRecords, storeControllerRecord } from "../controller/controller-records.ts";
import type { TasksChange, WatchTasksOptions } from "../controller/controller.ts";
import { ControllerError } from "../controller/error.ts";
import { openController, openRetiredController } from "../controller/open-controller.ts";
import { createStoreGuard, type StoreGuard } from "../controller/store-guard.ts";
import { WatchHub } from "../controller/watch-hub.ts";
import { watchTasks } from "../controller/watch-tasks.ts";
import { type Availability, createAvailability, drainingError } from "../rpc/availability.ts";
import { createRegistry } from "../rpc/registry.ts";
import { type Commands, openCommands } from "../runner/commands.ts";
import { openStore } from "../store/open.ts";
import type { Store } from "../store/store.ts";
import { createServerDescription } from "./describe-server.ts";
import { type DiskReserve, openDiskReserve } from "./disk-reserve.ts";
import { ServerError } from "./error.ts";
import { fixedLimits } from "./limits.ts";
import { formatAddress } from "./listen-address.ts";
import type { Listener } from "./listener.ts";
import { type HostedRunner, prepareRunner } from "./host-runner.ts";
import { type ResolvedServerOptions, resolveServerOptions, type ServerOptions } from "./options.ts";
import { serve } from "./serve.ts";
import { loadTlsPair, watchTlsPair } from "./tls-files.ts";

export interface RunningServer {
  /** HOST:PORT, the port as it is. */
  readonly address: string;
  readonly host: string;
  readonly port: number;
  /** The names of the controllers that it hosts. */
  readonly controllers: readonly string[];
  /** The store as openStore took it. */
  readonly store: string;
  /** Stops: refuses calls, ends watches, lets the calls under way finish for at most `graceMs` (default 3,000), stops runners, closes the store. Idempotent. */
  close(options?: { graceMs?: number }): Promise<void>;
  /** Resolves when it is closed, and rejects where closing failed. */
  readonly closed: Promise<void>;
}

/** The longest that closing takes. */
const closeMaxMs = 10_000;
const closeGraceMs = 3_000;

/** As far from src/server/ as from dist/server/. */
const descriptorsUrl = new URL("../../gen/descriptors.binpb", import.meta.url);

/**
 * Starts a server: resolves when it serves. Throws ServerError for what is wrong with
 * the options, StoreError (LOCKED, DAMAGED) for a store that cannot be opened.
 */
export async function startServer(options: ServerOptions = {}): Promise<RunningServer> {
  const resolved = resolveServerOptions(options);
  const { log, address, clock } = resolved;
  const runners = new Map<string, HostedRunner>();
  for (const { name, runner } of resolved.controllers)
    runners.set(name, await prepareRunner(name, runner, resolved.env));

  const parts = new ServerParts(resolved);
  try {
    await parts.listen();
    await parts.openStore();
    await parts.openCommands();
    for (const [name, runner] of runners) await parts.openController(name, runner);
    await parts.openRetiredControllers();
    parts.availability.enter("serving");
  } catch (error) {
    await parts.close(0);
    throw error;
  }
  const { port } = parts.listener;
  if (!resolved.loopback && resolved.tls === undefined)
    log.warn({ address: options.listen }, "other machines can reach the server, and nothing is encrypted");
  log.info({ address: formatAddress({ host: address.host, port }), store: resolved.store }, "the server is up");

  let settle: (closed: Promise<void>) => void = () => {};
  const closed = new Promise<void>((resolve) => {
    settle = resolve;
  });
  // Who closes sees a failure too; nobody has to wait for this one.
  closed.catch(() => {});
  let closing: Promise<void> | undefined;
  return {
    address: formatAddress({ host: address.host, port }),
    host: address.host,
    port,
    controllers: [...runners.keys()],
    store: resolved.store,
    close({ graceMs = closeGraceMs } = {}) {
      if (closing === undefined) {
        closing = withinTime(parts.close(graceMs), { clock, log, maxMs: closeMaxMs });
        settle(closing);
      }
      return closing;
    },
    closed,
  };
}

/** What is open; each part is there from when it was opened. */
class ServerParts {
  readonly availability: Availability = createAvailability();
  readonly #options: ResolvedServerOptions;
  readonly #registry = createRegistry();
  /** The runner kinds of the controllers that the store knows, by name. */
  #records = new Map<string, number>();
  #listener: Listener | undefined;
  #endTlsWatch = (): void => {};
  #store: Store | undefined;
  #guard: StoreGuard | undefined;
  #disk: DiskReserve | undefined;
  /** The watches of all controllers. */
  readonly #hub = new WatchHub();
  readonly #closing = new AbortController();
  readonly #lifetime = new Lifetime(() => drainingError());
  #commands: Commands | undefined;

  constructor(options: ResolvedServerOptions) {
    this.#options = options;
  }

  get listener(): Listener {
    if (this.#listener === undefined) throw new Error("the server does not listen yet");
    return this.#listener;
  }

  async listen(): Promise<void> {
    const { address, clock, random, log, limits, version, loopback, reflection, tls, corsOrigins } = this.#options;
    const pair = tls && (await loadTlsPair(tls));
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
        describeServer: createServerDescription({
          version,
          clock,
          loopback,
          tls: tls !== undefined,
          reflection,
          limits: { ...limits, ...fixedLimits },
          store: () => this.#store,
        }),
        descriptors,
        limits,
        refuseLaunch: () => this.#disk?.refusal(),
        clock,
        random,
        log,
      });
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      const why = code === "EADDRINUSE" ? "something else listens there" : (code ?? String(error));
      throw new ServerError("LISTEN", `cannot listen on ${formatAddress(address)}: ${why}`, error);
    }
    if (tls === undefined || pair === undefined) return;
    this.#endTlsWatch = watchTlsPair(tls, pair, { clock, log, renew: (renewed) => this.listener.renewTls(renewed) });
  }

  async openStore(): Promise<void> {
    const { store, dataDir, clock, random, log, limits, historyMs, historyBytes } = this.#options;
    this.#store = await openStore(store, { clock, log, historyMs, historyBytes });
    this.#guard = createStoreGuard({ store: this.#store, clock, random, log });
    this.#guard.onChange((healthy) => this.availability.setStoreHealthy(healthy));
    if (dataDir !== undefined) this.#disk = await openDiskReserve({ directory: dataDir, limits, clock, log });
    this.#records = await loadControllerRecords(this.#core());
  }

  #watchAllTasks(options: WatchTasksOptions): AsyncIterable<TasksChange> {
    const { clock, log, limits } = this.#options;
    if (this.#store === undefined || this.#guard === undefined)
      throw new Error("calls are refused until the store is open");
    const watched = {
      store: this.#store,
      guard: this.#guard,
      clock,
      log,
      hub: this.#hub,
      watchersMax: limits.watchersMax,
      closing: this.#closing.signal,
      lifetime: this.#lifetime,
      only: undefined,
      names: () => this.#registry.list().map(({ controller }) => controller.name),
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

  async openController(name: string, { kind: runnerKind, create, concurrency }: HostedRunner): Promise<void> {
    const { clock, random, log, controllers, limits, runnerGraceMs } = this.#options;
    const config = controllers.find((each) => each.name === name);
    if (this.#records.get(name) !== runnerKind) await storeControllerRecord(this.#core(), name, runnerKind);
    const controller = await openController({
      name,
      runner: create(this.#commands as Commands),
      store: this.#store as Store,
      guard: this.#guard,
      retention: { afterEndMs: config?.afterEndMs },
      concurrency: config?.concurrency ?? concurrency,
      limits,
      closeGraceMs: runnerGraceMs,
      clock,
      random,
      log,
    });
    this.#registry.add({ controller, runnerKind, runnersConnected: 1 });
  }

  /** Those that the configuration has named before, and does not any more. */
  async openRetiredControllers(): Promise<void> {
    const { clock, random, log, afterEndMs, limits, runnerGraceMs } = this.#options;
    for (const [name, runnerKind] of this.#records) {
      if (this.#registry.get(name) !== undefined) continue;
      const controller = await openRetiredController({
        name,
        store: this.#store as Store,
        guard: this.#guard,
        retention: { afterEndMs },
        limits,
        closeGraceMs: runnerGraceMs,
        clock,
        random,
        log,
      });
      this.#registry.add({ controller, runnerKind, runnersConnected: 0 });
      log.warn({ controller: name }, "a controller that the configuration no longer names takes no launches");
    }
  }

  async #forgetController(name: string): Promise<void> {
    const { controllers } = this.#options;
    if (controllers.some((each) => each.name === name)) {
      throw new ControllerError(
        "FAILED_PRECONDITION",
        `the configuration names the controller "${name}"; take it out there, and start the server again`,
      );
    }
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
    log.info({}, "the server is stopping");
    this.availability.enter("draining");
    this.#endTlsWatch();
    await this.#listener?.close(graceMs);
    this.#closing.abort();
    this.#lifetime.end();
    // A controller that fails to close must not keep the others, or the store, open.
    const closings = await Promise.allSettled(this.#registry.list().map(({ controller }) => controller.close()));
    for (const closing of closings) {
      if (closing.status === "rejected") log.error({ err: closing.reason as unknown }, "a controller did not close");
    }
    // Runners that were left may still wait for a command to stop, which is killed when that takes too long.
    await this.#commands?.close();
    this.#disk?.close();
    this.#guard?.close();
    await this.#store?.close();
    log.info({}, "the server has stopped");
  }
}

async function withinTime(
  work: Promise<void>,
  { clock, log, maxMs }: Pick<ResolvedServerOptions, "clock" | "log"> & { maxMs: number },
): Promise<void> {
  const done = new AbortController();
  const ended = work.finally(() => done.abort());
  const timeout = sleep(clock, maxMs, done.signal).then(() => {
    if (!done.signal.aborted)
      log.error({ maxMs }, "closing took too long, and was given up; all that was acknowledged is on disk");
  });
  await Promise.race([ended, timeout.then(() => (done.signal.aborted ? ended : undefined))]);
}
