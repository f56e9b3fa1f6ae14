import type { ConfigProblem } from "../server/check-config.ts";
import { ServerError, type ServerErrorCode } from "../server/error.ts";
import { StoreError } from "../store/store.ts";
import { CliError } from "./cli-error.ts";
import { exitCode } from "./exit-code.ts";
import { escapeLines, escapeText } from "./text/escape.ts";

/** Why the server did not start, as a message for people with an exit status of its own kind. What is not known comes back as it is. */
export function explainStartFailure(error: unknown): unknown {
  if (error instanceof ServerError) return explainServerError(error);
  if (error instanceof StoreError) return explainStoreError(error);
  return error;
}

/** All that is wrong with a configuration, each with its line or whose else it is. */
export function explainMistakes(file: string | undefined, problems: readonly ConfigProblem[]): CliError {
  const where = problems.every(({ line }) => line !== undefined) ? file : undefined;
  const what = problems.length === 1 ? "is a mistake" : `are ${problems.length} mistakes`;
  return new CliError(`there ${what} in ${escapeText(where ?? "the configuration")}`, {
    exitCode: exitCode.usage,
    violations: problems.map(({ line, source = `${file}:${line}`, text }) =>
      // A module's error may have several lines.
      escapeLines(`${source}: ${text}`).join("\n    "),
    ),
  });
}

const exitCodes: Readonly<Partial<Record<ServerErrorCode, number>>> = {
  LISTEN: exitCode.port,
  LEFT_COMMAND: exitCode.failed,
};

function explainServerError(error: ServerError): CliError {
  const lines = escapeLines(error.message);
  const isPort = error.code === "LISTEN";
  return new CliError(lines.length > 1 ? `there are ${lines.length} mistakes in the configuration` : (lines[0] ?? ""), {
    exitCode: exitCodes[error.code] ?? exitCode.usage,
    violations: lines.length > 1 ? lines : [],
    hints: isPort ? portHints : [],
    cause: error,
  });
}

const portHints = [
  "is a server running already? Stop that one, or have this one listen elsewhere: --listen HOST:PORT",
  "with npm: npm start -- --listen 127.0.0.1:7847 --data-dir ./other-data",
];

function explainStoreError(error: StoreError): CliError {
  const message = escapeLines(error.message).join("\n");
  const code = error.code === "DAMAGED" ? exitCode.damagedStore : exitCode.store;
  return new CliError(message, { exitCode: code, hints: storeHints[error.code] ?? [], cause: error });
}

const storeHints: Readonly<Record<string, readonly string[]>> = {
  LOCKED: [
    "is a server running on it already? Stop that one, or keep this one's tasks elsewhere: --data-dir DIR",
    "with npm: npm start -- --data-dir ./other-data",
  ],
  DAMAGED: [
    "nothing was changed. What is wrong says: stint store verify --store DIR",
    "what can be saved of it goes to a new directory with: stint store repair --store DIR --to NEWDIR",
    "a backup becomes a store again with: stint store restore FILE --to NEWDIR",
    "to start without its tasks for now, keep new ones elsewhere: --data-dir DIR",
  ],
  UNAVAILABLE: [
    "may this user write there? Is there room on the disk?",
    "to keep the tasks elsewhere, name a directory that is empty or new: --data-dir DIR",
  ],
};
