import { readFile } from "node:fs/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import { defaultServer, parseServer } from "./arguments.ts";
import { CliError } from "./cli-error.ts";
import { openClient, type RpcClient } from "./client.ts";
import { exitCode } from "./exit-code.ts";
import { type CallContext, explainRpcError } from "./explain-error.ts";
import type { Io } from "./io.ts";
import { RpcError } from "./rpc-error.ts";

/** The options of every command that talks to a server. */
export interface ClientOptions {
  readonly server?: string;
  readonly ca?: string;
  readonly output: "text" | "json";
}

/** Where a command is added: the program, what it may use, and where its exit status goes. */
export interface Cli {
  readonly program: Command;
  readonly io: Io;
  /** Called once by the command that ran. */
  readonly exitWith: (code: number) => void;
}

/** Adds --server, --ca and --output. */
export function addClientOptions(command: Command): Command {
  return addServerOptions(command.addOption(outputOption()));
}

/** Adds --server and --ca. */
export function addServerOptions(command: Command): Command {
  return command
    .option(
      "--server <[https://]host:port>",
      `where the server is (default: STINT_SERVER in the environment, or ${defaultServer})`,
      parseServer,
    )
    .addOption(caOption());
}

/** --ca, for the commands that talk to a server. */
export function caOption(): Option {
  return new Option(
    "--ca <file>",
    "over https://: who may have signed the server's certificate, or that certificate itself (PEM) [STINT_CA]",
  );
}

/** -o, for the commands that print something. */
export function outputOption(): Option {
  return new Option("-o, --output <format>", "how to print it").choices(["text", "json"]).default("text");
}

/** An example below the help of a command. */
export function addExample(command: Command, ...lines: readonly string[]): Command {
  return command.addHelpText(
    "after",
    ["", lines.length > 1 ? "Examples:" : "Example:", ...lines.map((line) => `  ${line}`)].join("\n"),
  );
}

/** Runs `body` with a client, closes it, and turns a failed call into a message for people. */
export async function withClient<T>(
  io: Io,
  options: Pick<ClientOptions, "server" | "ca"> & Omit<CallContext, "address">,
  body: (client: RpcClient) => Promise<T>,
): Promise<T> {
  const { address, ca } = await findServer(io, options);
  const client = openClient(address, { clock: io.clock, ...(ca === undefined ? {} : { ca }) });
  try {
    return await body(client);
  } catch (error) {
    if (error instanceof RpcError) throw explainRpcError(error, { ...options, address: client.address });
    throw error;
  } finally {
    client.close();
  }
}

/** Where the server is, and who may have signed its certificate (PEM), if that is said: by the options, or the environment. */
export async function findServer(
  io: Io,
  { server, ca }: Pick<ClientOptions, "server" | "ca">,
): Promise<{ address: string; ca: Buffer | undefined }> {
  return { address: server ?? serverOf(io), ca: await caOf(io, ca) };
}

async function caOf(io: Io, option: string | undefined): Promise<Buffer | undefined> {
  const file = option ?? io.env.STINT_CA;
  if (!file) return undefined;
  const name = option === undefined ? "STINT_CA" : "--ca";
  try {
    const ca = await readFile(file);
    // A file without one would be taken, and no server be trusted by it.
    if (ca.includes("CERTIFICATE-----")) return ca;
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new CliError(`${name}: ${file} cannot be read: ${reason}`, { exitCode: exitCode.usage, cause });
  }
  throw new CliError(`${name}: ${file} has no certificate in PEM`, { exitCode: exitCode.usage });
}

function serverOf(io: Io): string {
  const text = io.env.STINT_SERVER;
  if (!text) return defaultServer;
  try {
    return parseServer(text);
  } catch (cause) {
    const why = cause instanceof InvalidArgumentError ? cause.message : String(cause);
    throw new CliError(`STINT_SERVER is "${text}". ${why}`, {
      exitCode: exitCode.usage,
      hints: [`such as STINT_SERVER=${defaultServer}`],
      cause,
    });
  }
}
