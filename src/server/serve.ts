/**
 * The network side of the server: the services over a registry of controllers,
 * behind one port.
 *
 * States: starting (calls are refused) -> serving -> draining -> closed.
 *
 * 1. Health says NOT_SERVING before anything else is taken away.
 * 2. While draining, every call is answered: a new one with UNAVAILABLE (DRAINING), a
 *    watch with that and where to continue.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Health } from "#gen/grpc/health/v1/health_pb.js";
import { ServerReflection } from "#gen/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as ServerReflectionV1Alpha } from "#gen/grpc/reflection/v1alpha/reflection_pb.js";
import { type GetServerInfoResponseSchema, TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { TaskRunnerService } from "#gen/stint/v1/runner_pb.js";
import { StoreService } from "#gen/stint/v1/store_pb.js";
import type { Clock } from "../clock.ts";
import type { Faults } from "../faults.ts";
import type { Log } from "../log.ts";
import type { Random } from "../random.ts";
import type { Availability } from "../rpc/availability.ts";
import type { CallPolicy } from "../rpc/call.ts";
import { createDescriptorIndex } from "../rpc/descriptor-index.ts";
import { createHandlers, type Route, route } from "../rpc/handlers.ts";
import { createHealthService } from "../rpc/health.ts";
import { createReflectionServices } from "../rpc/reflection.ts";
import { LaunchGate } from "../rpc/launch-gate.ts";
import type { ControllerRegistry } from "../rpc/registry.ts";
import { createRunInBatches, createTaskRunnerService, type OpenRunners } from "../rpc/runner-service.ts";
import { createTaskControllerService } from "../rpc/service.ts";
import { createStoreService, type OpenBackup } from "../rpc/store-service.ts";
import { createStreamSlots } from "../rpc/stream-slots.ts";
import type { OpenTasksWatch } from "../rpc/watch-stream.ts";
import type { Limits } from "./limits.ts";
import { type Listener, openListener } from "./listener.ts";
import { RequestListener } from "./request-listener.ts";
import type { TlsPair } from "./tls-files.ts";

export interface ServeOptions {
  readonly host: string;
  readonly port: number;
  /** Undefined: in the clear. */
  readonly tls?: TlsPair | undefined;
  /** The origins of pages that may call; default none. */
  readonly corsOrigins?: readonly string[] | undefined;
  readonly registry: ControllerRegistry;
  readonly availability: Availability;
  /** Watches the tasks of all controllers. */
  readonly watchAllTasks: OpenTasksWatch;
  /** Forgets a controller of the registry. Throws FAILED_PRECONDITION where it has tasks, or something names it. */
  readonly forgetController: (name: string) => Promise<void>;
  readonly openRunners: OpenRunners;
  /** Begins a backup of the store. Throws FAILED_PRECONDITION where there are none of it, UNAVAILABLE. */
  readonly openBackup: OpenBackup;
  readonly describeServer: () => MessageInitShape<typeof GetServerInfoResponseSchema>;
  /** A google.protobuf.FileDescriptorSet with comments, for reflection; undefined: no reflection. */
  readonly descriptors: Uint8Array | undefined;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly faults: Faults;
}

/** What errors carry beside what the services import: reflection shows it too, so that clients can read details. */
const detailFiles = ["google/rpc/error_details.proto", "google/rpc/status.proto"];

/** Resolves when the port is open. Calls are refused until `availability` enters "serving". */
export async function serve(options: ServeOptions): Promise<Listener> {
  const { host, port, tls, availability, limits, clock, log, faults } = options;
  const requests = createRequestListener(options);
  const listener = await openListener({ host, port, tls, requests, limits, clock, log, faults });
  return {
    host: listener.host,
    port: listener.port,
    close(graceMs) {
      availability.enter("draining");
      return listener.close(graceMs);
    },
    renewTls: (pair) => listener.renewTls(pair),
  };
}

/** What takes the requests of the port: the services, and the policy of all calls. */
export function createRequestListener(options: Omit<ServeOptions, "host" | "port" | "tls">): RequestListener {
  const { availability, registry, descriptors, limits, clock, random, faults } = options;
  const policy = { availability, faults, streams: createStreamSlots(limits.watchersMax) };
  const service = createTaskControllerService({
    ...policy,
    registry,
    random,
    clock,
    limits,
    launches: new LaunchGate({ max: limits.launchesAtOnceMax, clock, availability, faults }),
    responseMaxBytes: limits.responseMaxBytes,
    waitMaxMs: limits.waitMaxMs,
    watchAllTasks: options.watchAllTasks,
    forgetController: options.forgetController,
    describeServer: options.describeServer,
  });
  const runnerOptions = { ...policy, clock, limits, openRunners: options.openRunners };
  const served = [TaskControllerService, TaskRunnerService, StoreService].map(({ typeName }) => typeName);
  const routes = [
    route(TaskControllerService, service, {
      requestLimits: { batchLaunchTasks: { name: "batch_request_max_bytes", value: limits.batchRequestMaxBytes } },
      givingWay: ["launchTask", "batchLaunchTasks"],
    }),
    route(TaskRunnerService, createTaskRunnerService(runnerOptions), {
      inBatches: { run: createRunInBatches(runnerOptions) },
    }),
    route(StoreService, createStoreService({ ...policy, openBackup: options.openBackup })),
    route(Health, createHealthService(policy, served)),
  ];
  if (descriptors !== undefined) routes.push(...reflectionRoutes(policy, routes, descriptors));
  const methods = createHandlers(routes, limits);
  const corsOrigins = new Set(options.corsOrigins);
  return new RequestListener({ methods, limits, corsOrigins, clock, faults });
}

/** Reflection over the services of `routes`, and itself. */
function reflectionRoutes(policy: CallPolicy, routes: readonly Route[], descriptors: Uint8Array): Route[] {
  const services = [...routes.map((each) => each.service), ServerReflection, ServerReflectionV1Alpha];
  const names = services.map((service) => service.typeName);
  const index = createDescriptorIndex(descriptors, { services: names, also: detailFiles });
  const { v1, v1alpha } = createReflectionServices(policy, index, names);
  return [route(ServerReflection, v1), route(ServerReflectionV1Alpha, v1alpha)];
}
