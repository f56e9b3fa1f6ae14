/** The network side of the server over fake controllers, on a port of its own. */
import { readFile } from "node:fs/promises";
import { createRegistry as createTypeRegistry } from "@bufbuild/protobuf";
import { createClient, type Client, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { file_google_rpc_error_details } from "#gen/google/rpc/error_details_pb.js";
import { RunnerKind, TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { systemClock } from "../../src/clock.ts";
import { Faults } from "../../src/faults.ts";
import type { Log } from "../../src/log.ts";
import { systemRandom } from "../../src/random.ts";
import type { Controller } from "../../src/controller/controller.ts";
import { ControllerError } from "../../src/controller/error.ts";
import { type Availability, createAvailability } from "../../src/rpc/availability.ts";
import { createRegistry } from "../../src/rpc/registry.ts";
import { defaultLimits, type Limits } from "../../src/server/limits.ts";
import { serve } from "../../src/server/serve.ts";
import type { TlsPair } from "../../src/server/tls-files.ts";
import { FakeController } from "./fake-controller.ts";
import { FakeRunners } from "./fake-runners.ts";

export type ProtocolName = "grpc" | "grpc-web" | "connect" | "connect-json" | "connect-h1" | "grpc-web-h1";

export const protocolNames: readonly ProtocolName[] = [
  "grpc",
  "grpc-web",
  "connect",
  "connect-json",
  "connect-h1",
  "grpc-web-h1",
];

/** What a JSON client knows of the messages in google.rpc.Status. */
const detailTypes = createTypeRegistry(file_google_rpc_error_details);

const descriptorsUrl = new URL("../../gen/descriptors.binpb", import.meta.url);

export interface ServedFake extends AsyncDisposable {
  readonly controller: FakeController;
  /** Of every controller but that one. */
  readonly runners: FakeRunners;
  readonly availability: Availability;
  readonly baseUrl: string;
  readonly port: number;
  /** What was logged: level and message. */
  readonly logged: { level: string; message: string; fields: object }[];
  readonly faults: Faults;
  /** What DeleteController fails with. */
  refuseForgetting(error: Error | undefined): void;
  client(protocol?: ProtocolName): Client<typeof TaskControllerService>;
  transport(protocol?: ProtocolName): Transport;
  renewTls(pair: TlsPair): void;
  close(graceMs: number): Promise<void>;
}

export async function serveFake(
  options: {
    limits?: Partial<Limits>;
    starting?: boolean;
    reflection?: boolean;
    tls?: TlsPair;
    /** Served beside the fake one. */
    controllers?: readonly Controller[];
  } = {},
): Promise<ServedFake> {
  const controller = new FakeController("countdown");
  const runners = new FakeRunners();
  const availability = createAvailability();
  if (options.starting !== true) availability.enter("serving");
  const logged: ServedFake["logged"] = [];
  const log = collectLog(logged);
  const faults = new Faults({ log });
  const all = [controller, ...(options.controllers ?? [])];
  const kind = { runnerKind: RunnerKind.MODULE, runnersConnected: () => 1 };
  const registry = createRegistry(all.map((each) => ({ controller: each, ...kind })));
  let refusal: Error | undefined;
  const listener = await serve({
    host: "127.0.0.1",
    port: 0,
    tls: options.tls,
    registry,
    availability,
    watchAllTasks: () => controller.watchTasks(),
    forgetController: async (name) => {
      if (refusal !== undefined) throw refusal;
      registry.remove(name);
    },
    openRunners: async (name) => {
      if (name === controller.name)
        throw new ControllerError("FAILED_PRECONDITION", "the server itself runs its tasks");
      return runners;
    },
    openBackup: async () => {
      throw new ControllerError("FAILED_PRECONDITION", "a fake has no store");
    },
    describeServer: () => ({ version: "0.0.0-test" }),
    descriptors: options.reflection === false ? undefined : await readFile(descriptorsUrl),
    limits: { ...defaultLimits, ...options.limits },
    clock: systemClock,
    random: systemRandom,
    log,
    faults,
  });
  const baseUrl = `http://127.0.0.1:${listener.port}`;
  return {
    controller,
    runners,
    availability,
    baseUrl,
    port: listener.port,
    logged,
    faults,
    refuseForgetting: (error) => {
      refusal = error;
    },
    client: (protocol = "grpc") => createClient(TaskControllerService, openTransport(baseUrl, protocol)),
    transport: (protocol = "grpc") => openTransport(baseUrl, protocol),
    renewTls: (pair) => listener.renewTls(pair),
    close: (graceMs) => listener.close(graceMs),
    [Symbol.asyncDispose]: () => listener.close(0),
  };
}

function openTransport(baseUrl: string, protocol: ProtocolName): Transport {
  switch (protocol) {
    case "grpc":
      return createGrpcTransport({ baseUrl });
    case "grpc-web":
      return createGrpcWebTransport({ baseUrl, httpVersion: "2" });
    case "grpc-web-h1":
      return createGrpcWebTransport({ baseUrl, httpVersion: "1.1" });
    case "connect":
      return createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: true });
    case "connect-json":
      return createConnectTransport({
        baseUrl,
        httpVersion: "2",
        useBinaryFormat: false,
        jsonOptions: { registry: detailTypes },
      });
    case "connect-h1":
      return createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: true });
  }
}

function collectLog(logged: ServedFake["logged"]): Log {
  const at = (level: string) => (fields: object, message: string) => {
    logged.push({ level, message, fields });
  };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}
