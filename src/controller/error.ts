/** What kind of refusal or failure it is: the names of the gRPC codes they become. */
export type ControllerErrorCode =
  | "INVALID_ARGUMENT"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "OUT_OF_RANGE"
  | "RESOURCE_EXHAUSTED"
  | "UNAVAILABLE"
  | "DATA_LOSS";

/** The closed list of reasons; stint.v1.ErrorReason without its prefix. */
export type ErrorReasonName =
  | "CONFLICT"
  | "REQUEST_ID_REUSED"
  | "STALE_FENCE"
  | "CRASH_LOOP"
  | "RUNNER_ERROR"
  | "EXIT_CODE"
  | "TIMEOUT"
  | "COMPACTED"
  | "DRAINING"
  | "STORE_UNAVAILABLE"
  | "LIMIT"
  | "CORRUPT";

/** One bad field of a request. */
export interface FieldViolation {
  /** The path of the field, as in the proto: "task_id", "labels[env]". */
  readonly field: string;
  /** What is wrong with it and what is allowed. */
  readonly description: string;
}

/** What an error says to programs, beside its code. */
export interface ControllerErrorDetails {
  readonly cause?: unknown;
  readonly reason?: ErrorReasonName;
  /** More for programs, such as {first_revision: "12"}; it is sent with a reason only. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Every bad field; with INVALID_ARGUMENT, and OUT_OF_RANGE. */
  readonly violations?: readonly FieldViolation[];
  /** What was not found; with NOT_FOUND. */
  readonly resource?: { readonly type: "task" | "controller"; readonly name: string };
  /** When trying again may help; with UNAVAILABLE and RESOURCE_EXHAUSTED. */
  readonly retryDelayMs?: number;
}

/** Every expected failure of a controller. A refused call changed nothing, except where the message says that the outcome is unknown. */
export class ControllerError extends Error {
  readonly code: ControllerErrorCode;
  readonly details: ControllerErrorDetails;

  constructor(code: ControllerErrorCode, message: string, details: ControllerErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "ControllerError";
    this.code = code;
    this.details = details;
  }
}

/** INVALID_ARGUMENT that names every bad field. */
export function invalidArgument(violations: readonly FieldViolation[]): ControllerError {
  const text = violations.map((each) => `${each.field}: ${each.description}`).join("; ");
  return new ControllerError("INVALID_ARGUMENT", text, { violations });
}

/** Throws INVALID_ARGUMENT where there is a complaint about a field; undefined is none. */
export function refuseBadFields(complaints: Readonly<Record<string, string | undefined>>): void {
  const violations = Object.entries(complaints).flatMap(([field, description]) =>
    description === undefined ? [] : [{ field, description }],
  );
  if (violations.length > 0) throw invalidArgument(violations);
}

/** RESOURCE_EXHAUSTED because of a limit, by its name as GetServerInfo has it. */
export function limitError(name: string, value: number, message: string, retryDelayMs?: number): ControllerError {
  return new ControllerError("RESOURCE_EXHAUSTED", message, {
    reason: "LIMIT",
    metadata: { limit: name, value: String(value) },
    ...(retryDelayMs === undefined ? {} : { retryDelayMs }),
  });
}

/** NOT_FOUND for a task. */
export function taskNotFound(controller: string, taskId: string): ControllerError {
  return new ControllerError("NOT_FOUND", `the controller "${controller}" has no task "${taskId}"`, {
    resource: { type: "task", name: `${controller}/${taskId}` },
  });
}

/** What `read` reads; undefined where that is DATA_LOSS, which is given to `onDamage`: one damaged task must not hide the others. */
export async function unlessDamaged<T>(
  read: () => Promise<T | undefined>,
  onDamage: (error: ControllerError) => Promise<void> | void,
): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof ControllerError) || error.code !== "DATA_LOSS") throw error;
    await onDamage(error);
    return undefined;
  }
}
