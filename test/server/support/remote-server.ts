/** Servers that come one after the other, with remote runners. */
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { RunnerKind, TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import type { ServerOptions } from "../../../src/server/options.ts";
import { startServer } from "../../../src/server/start-server.ts";
import { makeScratchDirectory } from "../../support/scratch-directory.ts";

/** The controller that runners name where a test says nothing else. */
export const controller = "remote";

/** A directory for servers that come one after the other, on one port. */
export async function openDirectory(options: ServerOptions = {}) {
  const { path: dataDir, ...scratch } = await makeScratchDirectory();
  let listen = "127.0.0.1:0";
  return {
    async start(more: ServerOptions = {}) {
      const server = await startServer({ listen, dataDir, runnerGraceMs: 500, ...options, ...more });
      listen = server.address;
      const client = createClient(TaskControllerService, createGrpcTransport({ baseUrl: `http://${listen}` }));
      const launch = (taskId: string) =>
        client.launchTask({ controller, taskId, payload: { case: "jsonMetadata", value: `{"of":"${taskId}"}` } });
      const status = async (taskId: string) => (await client.getTaskStatus({ controller, taskId })).status;
      const { address } = server;
      return { server, address, client, launch, status, [Symbol.asyncDispose]: () => server.close({ graceMs: 0 }) };
    },
    ...scratch,
  };
}

export type Started = Awaited<ReturnType<Awaited<ReturnType<typeof openDirectory>>["start"]>>;

/** The controllers, each with its kind and how many runners are connected. */
export async function listed({ client }: Pick<Started, "client">) {
  const { controllers } = await client.listControllers({});
  return controllers.map(({ name, runnerKind, runnersConnected }) => [name, RunnerKind[runnerKind], runnersConnected]);
}
