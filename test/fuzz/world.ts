/**
 * A server without a port: the services, as the port serves them, over controllers on a store in memory. What is fuzzed is given
 * to its request listener, so that all is run but sockets. For the controllers time stands still but in `settled`: between two of
 * those nothing changes by itself, so that whatever does was a request.
 */
import { readFile } from "node:fs/promises";
import { setImmediate as nextTurn } from "node:timers/promises";
import { RunnerKind } from "#gen/stint/v1/controller_pb.js";
import { Lifetime } from "../../src/async/lifetime.ts";
import { type Clock, systemClock } from "../../src/clock.ts";
import { ControllerError } from "../../src/controller/error.ts";
import { openController } from "../../src/controller/open-controller.ts";
import { openRemoteController } from "../../src/controller/open-remote-controller.ts";
import { Quarantine } from "../../src/controller/quarantine.ts";
import { createStoreGuard, type StoreGuard } from "../../src/controller/store-guard.ts";
import type { TaskRunner } from "../../src/controller/task-runner.ts";
import { WatchHub } from "../../src/controller/watch-hub.ts";
import { watchTasks } from "../../src/controller/watch-tasks.ts";
import { Faults } from "../../src/faults.ts";
import type { Log } from "../../src/log.ts";
import { systemRandom } from "../../src/random.ts";
import { createAvailability, drainingError } from "../../src/rpc/availability.ts";
import { createRegistry, type MutableRegistry } from "../../src/rpc/registry.ts";
import { runnerLimits } from "../../src/rpc/runner-limits.ts";
import { defaultLimits } from "../../src/server/limits.ts";
import { openBackup } from "../../src/server/open-backup.ts";
import { RemoteControllers } from "../../src/server/remote-controllers.ts";
import type { RequestListener } from "../../src/server/request-listener.ts";
import { createRequestListener } from "../../src/server/serve.ts";
import { type OpenedStore, openStore } from "../../src/store/open.ts";
import { createFakeClock, type FakeClock } from "../support/fake-clock.ts";

/** Controllers that there are: one whose tasks this process runs, and one whose tasks nobody runs. */
export const controllers = { hosted: "tests", idle: "idle" } as const;

/** Those whose ids begin with "e" end at once; all others go on until they are aborted. */
const runner: TaskRunner = {
  async onTaskRunning(task, { signal }) {
    if (task.taskId.startsWith("e")) return;
    await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  },
};

export interface FuzzWorld extends AsyncDisposable {
  readonly requests: RequestListener;
  /** Resolves to the store's revision when nothing changes any more by itself. */
  settled(): Promise<bigint>;
  revision(): bigint;
  /** What was logged as an error: each is a bug. */
  readonly errors: readonly string[];
}

const descriptorsUrl = new URL("../../gen/descriptors.binpb", import.meta.url);
const limits = { ...defaultLimits, runnerControllersMax: 20 };
const shared = { random: systemRandom, limits };
const retention = { afterEndMs: 3_600_000 };

export async function openFuzzWorld(): Promise<FuzzWorld> {
  const clock = createFakeClock();
  const store = await openStore("memory:", { clock });
  const errors: string[] = [];
  const log = logErrors(errors);
  const faults = new Faults({ clock, log });
  const guard = createStoreGuard({ store, clock, ...shared, log, faults });
  const parts = { store, guard, clock, log, faults };
  const availability = createAvailability();
  const registry = createRegistry([]);
  const remote = createRemoteControllers({ ...parts, registry });
  const hosted = await openController({ name: controllers.hosted, ...parts, ...shared, retention, runner });
  registry.add({ controller: hosted, runnerKind: RunnerKind.MODULE, runnersConnected: () => 1 });
  remote.add(await openIdle({ name: controllers.idle, ...parts }));
  availability.enter("serving");
  const closing = new AbortController();
  const requests = createRequestListener({
    registry,
    availability,
    watchAllTasks: (options) =>
      watchTasks(
        {
          ...{ ...parts, hub: new WatchHub(), quarantine: new Quarantine(faults) },
          ...{ watchersMax: limits.watchersMax, closing: closing.signal, only: undefined },
          lifetime: new Lifetime(() => drainingError()),
          names: () => registry.list().map(({ controller }) => controller.name),
          look: async (name, taskId) => registry.get(name)?.controller.readTask(taskId),
          checkOpen: () => {},
        },
        options,
      ),
    forgetController: async (name) => {
      if (remote.hasMade(name)) return remote.forget(name);
      throw new ControllerError("FAILED_PRECONDITION", "the configuration names it");
    },
    openRunners: (name) => remote.openFor(name),
    openBackup: () => openBackup(store),
    describeServer: () => ({ version: "0.0.0-test" }),
    descriptors: await readFile(descriptorsUrl),
    ...shared,
    clock: systemClock,
    log,
    faults,
  });
  return {
    requests,
    errors,
    revision: () => store.revision(),
    settled: () => settled(store, clock),
    async [Symbol.asyncDispose]() {
      availability.enter("draining");
      closing.abort();
      await remote.close();
      for (const { controller } of registry.list()) await controller.close();
      guard.close();
      await store.close();
    },
  };
}

interface Parts {
  readonly store: OpenedStore;
  readonly guard: StoreGuard;
  readonly clock: Clock;
  readonly log: Log;
  readonly faults: Faults;
}

function createRemoteControllers({ registry, ...parts }: Parts & { registry: MutableRegistry }): RemoteControllers {
  const lifetime = new Lifetime(() => drainingError());
  const names: readonly string[] = Object.values(controllers);
  return new RemoteControllers({
    registry,
    controllersMax: limits.runnerControllersMax,
    isConfigured: (name) => names.includes(name),
    records: () => ({ ...parts, lifetime }),
    open: (name, signal) => openIdle({ name, signal, ...parts }),
  });
}

function openIdle(options: Parts & { name: string; signal?: AbortSignal }) {
  const { leaseMs, runnersMax } = limits;
  const { runnerCapacityMax } = runnerLimits;
  const remote = { leaseMs, runnersMax, runnerCapacityMax, isServing: () => true };
  return openRemoteController({ ...options, ...shared, retention, remote });
}

async function settled(store: OpenedStore, clock: FakeClock): Promise<bigint> {
  let last = store.revision();
  for (let quiet = 0; quiet < 6; quiet += 1) {
    if (quiet === 2) await clock.advance(1);
    else await nextTurn();
    if (store.revision() !== last) quiet = 0;
    last = store.revision();
  }
  return last;
}

function logErrors(errors: string[]): Log {
  const nothing = (): void => {};
  return {
    debug: nothing,
    info: nothing,
    warn: nothing,
    error: (fields, message) => void errors.push(`${message}: ${String((fields as { err?: Error }).err?.stack)}`),
  };
}
