import { status as Code } from "@grpc/grpc-js";
import { CliError } from "./cli-error.ts";
import { explainConnectionFailure } from "./connection-failure.ts";
import { exitCodeOfRpc } from "./exit-code.ts";
import { neverConnected, type RpcError, type RpcErrorDetails } from "./rpc-error.ts";
import { escapeText } from "./text/escape.ts";

/** What a call was about, for the hints. */
export interface CallContext {
  /** The server's HOST:PORT. */
  readonly address: string;
  readonly controller?: string | undefined;
  readonly taskId?: string | undefined;
  /** The task as it was at this revision; 0 or undefined: as it is. */
  readonly revision?: bigint | undefined;
  /** What to do next, by code, where the command knows better than the code says. */
  readonly hints?: Readonly<Partial<Record<Code, readonly string[]>>> | undefined;
}

/** A failed call as a message for people: what the server said, every bad field, and what to do next. */
export function explainRpcError(error: RpcError, context: CallContext): CliError {
  const violations = violationsOf(error);
  return new CliError(messageOf(error, context, violations), {
    exitCode: exitCodeOfRpc(error.code),
    violations: violations.map(escapeText),
    hints: hintsOf(error, context),
    cause: error,
  });
}

function messageOf(error: RpcError, context: CallContext, violations: readonly string[]): string {
  const { address, revision = 0n } = context;
  if (neverConnected(error)) {
    const { why } = explainConnectionFailure(error.message, address);
    return `no server answers at ${address} (${escapeText(why)})`;
  }
  const code = Code[error.code] ?? String(error.code);
  const { reason, resource } = error.details;
  // A message that only strings the bad fields together says nothing that their list does not.
  const isList = violations.length > 1 && violations.every((violation) => error.message.includes(violation));
  const message = isList
    ? `${violations.length} fields of the request are wrong`
    : escapeText(error.message) || "the call failed";
  const when = revision > 0n && resource === "task" ? ` at revision ${revision}` : "";
  return `${message}${when} (${code}${reason ? `, ${escapeText(reason)}` : ""})`;
}

/** The bad fields, where there are several; of one, the message says it already. */
function violationsOf({ message, details }: RpcError): string[] {
  const violations = details.violations.map(({ field, description }) =>
    field ? `${field}: ${description}` : description,
  );
  return violations.length > 1 || !violations.every((violation) => message.includes(violation)) ? violations : [];
}

function hintsOf(error: RpcError, context: CallContext): readonly string[] {
  if (neverConnected(error)) return explainConnectionFailure(error.message, context.address).hints;
  return context.hints?.[error.code] ?? hintsByCode[error.code]?.(error.details, context) ?? [];
}

type Hints = (details: RpcErrorDetails, context: CallContext) => string[];

const hintsByCode: Readonly<Partial<Record<Code, Hints>>> = {
  [Code.NOT_FOUND]: ({ resource }, { controller = "CONTROLLER", taskId = "ID", revision = 0n }) => {
    if (resource === "controller") return ["stint controllers shows what there is"];
    if (resource === "task" && revision > 0n)
      return [`stint status ${controller} ${taskId} shows the task as it is now`];
    return resource === "task" ? [`stint list ${controller} shows the tasks there are`] : [];
  },
  [Code.ABORTED]: (_details, { controller = "CONTROLLER", taskId = "ID" }) => [
    `stint status ${controller} ${taskId} shows the task's revision as it is now`,
  ],
  [Code.ALREADY_EXISTS]: ({ reason }) =>
    reason === "REQUEST_ID_REUSED" ? ["another launch needs another --request-id"] : [],
  [Code.OUT_OF_RANGE]: ({ reason, metadata }) =>
    reason === "COMPACTED"
      ? [`the history begins at revision ${escapeText(metadata.first_revision ?? "unknown")}`]
      : [],
  [Code.DEADLINE_EXCEEDED]: (_details, { address }) => [
    `the server at ${address} is too slow or cannot be reached; what was asked may have been done`,
  ],
  [Code.UNAVAILABLE]: ({ reason }) => [
    reason ? "try again in a moment" : "what was asked may have been done; try again",
  ],
  [Code.UNIMPLEMENTED]: (_details, { address }) => [
    `is it a Stint server that listens at ${address}? stint version --server ${address} shows which`,
  ],
};
