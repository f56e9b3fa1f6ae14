import type { MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { GetServerInfoResponseSchema } from "#gen/stint/v1/controller_pb.js";
import type { Clock } from "../clock.ts";
import type { Faults } from "../faults.ts";
import type { Store } from "../store/store.ts";

export interface ServerDescriptionOptions {
  readonly version: string;
  readonly clock: Clock;
  /** Whether only this machine can reach the server. */
  readonly loopback: boolean;
  readonly tls: boolean;
  readonly reflection: boolean;
  /** All limits in force, by their names in the code. */
  readonly limits: Readonly<Record<string, number>>;
  readonly faults: Faults;
  /** undefined until it is open. */
  store(): Store | undefined;
}

const features = [
  "launch-task",
  "batch-launch-tasks",
  "cancel-task",
  "get-task-status",
  "list-tasks",
  "list-task-logs",
  "watch-task",
  "watch-tasks",
  "wait-task",
  "delete-task",
  "list-controllers",
  "delete-controller",
  "task-runner",
];
const surfaces = ["grpc", "grpc-web", "connect", "health"];

/** Answers GetServerInfo; the time it is up counts from now. */
export function createServerDescription(
  options: ServerDescriptionOptions,
): () => MessageInitShape<typeof GetServerInfoResponseSchema> {
  const { version, clock, loopback, tls, reflection, faults } = options;
  const startedMono = clock.mono();
  const startTime = timestampFromMs(clock.wall());
  const limits = Object.fromEntries(
    Object.entries(options.limits).map(([name, value]) => [snakeCase(name), BigInt(Math.round(value))]),
  );
  return () => {
    const store = options.store();
    return {
      version,
      uptime: durationFromMs(Math.round(clock.mono() - startedMono)),
      startTime,
      limits,
      faults: Object.fromEntries(Object.entries(faults.counts()).map(([kind, count]) => [kind, BigInt(count)])),
      features: [
        ...features,
        ...surfaces,
        ...(reflection ? ["reflection"] : []),
        ...(tls ? ["tls"] : loopback ? [] : ["insecure"]),
      ],
      ...(store === undefined ? {} : { store: describeStore(store) }),
    };
  };
}

function describeStore(store: Store) {
  return {
    kind: store.kind,
    durability: store.durability,
    revision: store.revision(),
    firstRevision: store.firstRevision(),
  };
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
