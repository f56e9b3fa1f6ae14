import { type Command, Option } from "commander";
import { StoreService } from "#gen/stint/v1/store_pb.js";
import { StoreError } from "../../store/store.ts";
import { settledOrAborted } from "../../async/signals.ts";
import { parsePath, parseServer } from "../arguments.ts";
import { CliError } from "../cli-error.ts";
import type { RpcClient } from "../client.ts";
import { addExample, caOption, type Cli, type ClientOptions, outputOption, withClient } from "../client-command.ts";
import { exitCode } from "../exit-code.ts";
import type { Io } from "../io.ts";
import { escapeJson, escapeLines, escapeText } from "../text/escape.ts";
import { renderContent, renderRepaired, renderVerified } from "../text/store-report.ts";

interface StoreOptions {
  readonly store?: string;
  readonly output: "text" | "json";
}

type BackupOptions = ToOptions & Pick<ClientOptions, "server" | "ca">;
type ToOptions = StoreOptions & { readonly to: string };

/** stint store: looks at a store that no server has open, copies it, and saves what can be saved of a damaged one. */
export function addStoreCommand({ program, io, exitWith }: Cli): void {
  const store = program
    .command("store")
    .summary("verify, back up, restore and repair a store")
    .description(
      "Looks at the store of a server that is stopped, copies it (also of one that runs), makes a store of a copy, and saves what can be saved of a damaged one. " +
        "None of them changes the store that it is given, or replaces one that is there. " +
        "The exit status is 0 where all is well, 5 where the store is in use or cannot be read, 7 where it is damaged so that no server " +
        "opens it, and 8 where a server opens it and single records are damaged or lost.",
    )
    .helpCommand(false);
  const add = (name: string, summary: string, description: string): Command =>
    store.command(name).summary(summary).description(description).addOption(outputOption());

  const verify = add(
    "verify",
    "say what is damaged",
    "Reads all of a store, or of a backup's file, and says what is in it and each record, task and file that is damaged. Changes nothing.",
  ).addOption(storeOption("the store's directory, or a backup"));
  verify.action(async (options: StoreOptions) => exitWith(await verifyOne(io, options)));
  addExample(verify, "stint store verify --store ./stint-data");

  addCopyCommands(add, { io, exitWith });

  const repair = add(
    "repair",
    "make a store of what can be read of a damaged one",
    "Makes a new store of all that can be read of a damaged one, whether a server opens that or not, and says what is lost. Bytes that " +
      "cannot be taken are kept in quarantine/ of the new store. Tasks whose records are lost are DATA_LOSS there, until they are deleted.",
  )
    .addOption(storeOption("the damaged store's directory"))
    .requiredOption("--to <dir>", "the new store's directory", parsePath);
  repair.action(async (options: ToOptions) => exitWith(await repairOne(io, options)));
  addExample(repair, "stint store repair --store ./stint-data --to ./repaired-data");

  addExample(
    store,
    "stint store verify --store ./stint-data",
    "stint store backup --store ./stint-data --to stint.backup",
    "stint store restore stint.backup --to ./restored-data",
    "stint store repair --store ./stint-data --to ./repaired-data",
  );
}

/** stint store backup, and restore. */
function addCopyCommands(
  add: (name: string, summary: string, description: string) => Command,
  { io, exitWith }: Pick<Cli, "io" | "exitWith">,
): void {
  const backup = add(
    "backup",
    "copy a store to a file",
    "Copies a store to a new file, which has a checksum, and verifies that: of a server that is stopped, or, with --server, of one that runs. " +
      "The copy is of one moment, and has all that was acknowledged before.",
  )
    .addOption(storeOption("the store's directory"))
    .addOption(
      new Option("--server <[https://]host:port>", "copy the store of this server, while it runs")
        .argParser(parseServer)
        .conflicts("store"),
    )
    .addOption(caOption())
    .requiredOption("--to <file>", "the backup; it must not be there", parsePath);
  backup.action(async (options: BackupOptions) => exitWith(await backUp(io, options)));
  addExample(
    backup,
    "stint store backup --store ./stint-data --to stint.backup",
    "stint store backup --server 127.0.0.1:7846 --to stint.backup",
  );

  const restore = add(
    "restore",
    "make a store of a backup",
    "Makes a store of a backup, after verifying it, in a directory that is empty or new. One that is cut short leaves nothing that a server opens.",
  )
    .argument("<backup>", "the backup's file")
    .requiredOption("--to <dir>", "the new store's directory", parsePath);
  restore.action(async (file: string, options: ToOptions) => exitWith(await restoreOne(io, file, options)));
  addExample(restore, "stint store restore stint.backup --to ./restored-data");
}

function storeOption(what: string): Option {
  const description = `${what} (default: STINT_DATA_DIR in the environment, or ./stint-data)`;
  return new Option("--store <dir>", description).argParser(parsePath);
}

async function verifyOne(io: Io, options: StoreOptions): Promise<number> {
  const { verifyStore } = await import("../../store/maintenance.ts");
  const path = storeOf(io, options);
  const report = await untilStopped(io, verifyStore(path));
  const { isSound, opens } = report;
  print(io, options, { path, ...report }, () => renderVerified(path, report));
  if (isSound) return exitCode.success;
  return opens ? exitCode.damagedRecords : exitCode.damagedStore;
}

async function backUp(io: Io, options: BackupOptions): Promise<number> {
  const { backupStore, receiveBackup } = await import("../../store/maintenance.ts");
  const { server, to } = options;
  const path = server ?? storeOf(io, options);
  const report =
    server === undefined
      ? await untilStopped(io, backupStore(path, to))
      : await withClient(io, options, (client) => orExplain(receiveBackup(piecesOf(io, client), to)));
  const title = `backup of ${escapeText(path)} in ${escapeText(options.to)}, verified`;
  print(io, options, { path, to: options.to, ...report }, () => `${[title, ...renderContent(report)].join("\n")}\n`);
  return report.isSound ? exitCode.success : exitCode.damagedRecords;
}

async function* piecesOf({ signal }: Io, client: RpcClient): AsyncGenerator<Uint8Array> {
  for await (const { piece } of client.stream(StoreService.method.backup, {}, { signal })) yield piece;
}

async function restoreOne(io: Io, file: string, options: ToOptions): Promise<number> {
  const { restoreBackup } = await import("../../store/maintenance.ts");
  const report = await untilStopped(io, restoreBackup(file, options.to));
  const title = `restored ${escapeText(file)} to ${escapeText(options.to)}`;
  print(io, options, { file, to: options.to, ...report }, () => `${[title, ...renderContent(report)].join("\n")}\n`);
  return report.isSound ? exitCode.success : exitCode.damagedRecords;
}

async function repairOne(io: Io, options: ToOptions): Promise<number> {
  const { repairStore } = await import("../../store/maintenance.ts");
  const path = storeOf(io, options);
  const report = await untilStopped(io, repairStore(path, options.to, io.clock));
  print(io, options, { path, to: options.to, ...report }, () => renderRepaired(path, options.to, report));
  return report.isComplete ? exitCode.success : exitCode.damagedRecords;
}

function storeOf(io: Io, { store }: StoreOptions): string {
  return store ?? (io.env.STINT_DATA_DIR || "./stint-data");
}

function print(io: Io, { output }: StoreOptions, report: object, render: () => string): void {
  io.stdout.write(output === "json" ? escapeJson(JSON.stringify(report)) : render());
}

const exitCodes: Readonly<Record<string, number>> = {
  INVALID: exitCode.usage,
  DAMAGED: exitCode.damagedStore,
  LOCKED: exitCode.store,
  UNAVAILABLE: exitCode.store,
};

const hints: Readonly<Record<string, readonly string[]>> = {
  LOCKED: ["stop the server on it, or copy its store while it runs: stint store backup --server HOST:PORT --to FILE"],
};

/** The same, unless the process is asked to stop before: what is half made then keeps the name that says so. */
async function untilStopped<T>({ signal }: Io, work: Promise<T>): Promise<T> {
  const explained = orExplain(work);
  await settledOrAborted(explained, signal);
  signal.throwIfAborted();
  return explained;
}

/** As the work does; a StoreError is told to people. */
async function orExplain<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    throw new CliError(escapeLines(error.message).join("\n"), {
      exitCode: exitCodes[error.code] ?? exitCode.failed,
      hints: hints[error.code] ?? [],
      cause: error,
    });
  }
}
