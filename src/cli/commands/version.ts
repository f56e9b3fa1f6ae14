import { toJson } from "@bufbuild/protobuf";
import {
  type GetServerInfoResponse,
  GetServerInfoResponseSchema,
  TaskControllerService,
} from "#gen/stint/v1/controller_pb.js";
import { parseServer } from "../arguments.ts";
import { addExample, type Cli, caOption, type ClientOptions, outputOption, withClient } from "../client-command.ts";
import { exitCode } from "../exit-code.ts";
import { escapeJson, escapeText } from "../text/escape.ts";
import { formatDuration } from "../text/format.ts";
import { version } from "../version.ts";

/** stint version: shows the version of this program and, when asked, of a server. */
export function addVersionCommand({ program, io, exitWith }: Cli): void {
  const command = program
    .command("version")
    .summary("print the version")
    .description("Prints the version of this program; with --server, what that server is, too.")
    .addOption(outputOption())
    .option("--server <[https://]host:port>", "ask this server as well", parseServer)
    .addOption(caOption());
  addExample(command, "stint version --server 127.0.0.1:7846");
  command.action(async (options: ClientOptions) => {
    if (options.output === "text") io.stdout.write(`stint ${version}\n`);
    const server = options.server
      ? await withClient(io, options, (client) =>
          client.call(TaskControllerService.method.getServerInfo, {}, { signal: io.signal }),
        )
      : undefined;
    if (options.output === "json") {
      const described = server && toJson(GetServerInfoResponseSchema, server);
      io.stdout.write(escapeJson(JSON.stringify({ version, server: described })));
    } else if (server) io.stdout.write(renderServer(server, options.server ?? ""));
    exitWith(exitCode.success);
  });
}

function renderServer(server: GetServerInfoResponse, address: string): string {
  const { store, uptime } = server;
  const up = uptime ? `, up ${formatDuration(Number(uptime.seconds) * 1000 + uptime.nanos / 1e6)}` : "";
  const lines = [`server ${escapeText(server.version)} at ${address}${up}`];
  if (store)
    lines.push(`  store     ${escapeText(store.kind)}, ${escapeText(store.durability)}, revision ${store.revision}`);
  if (server.features.length > 0) lines.push(`  features  ${escapeText(server.features.join(", "))}`);
  const faults = Object.entries(server.faults).filter(([, count]) => count > 0n);
  if (faults.length > 0)
    lines.push(`  faults    ${escapeText(faults.map(([kind, count]) => `${kind} ${count}`).join(", "))}`);
  return `${lines.join("\n")}\n`;
}
