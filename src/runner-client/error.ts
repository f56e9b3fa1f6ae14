/** OPTION: an option is wrong. REFUSED: the server does not want this runner, see `status`. THREAD: the session's thread failed, which is a bug. */
export type RunnerErrorCode = "OPTION" | "REFUSED" | "THREAD";

/** Why a runner cannot run, or cannot go on. */
export class RunnerError extends Error {
  readonly code: RunnerErrorCode;
  /** With REFUSED: the name of gRPC's code, such as "FAILED_PRECONDITION" where the server runs the controller's tasks itself. */
  readonly status: string | undefined;

  constructor(code: RunnerErrorCode, message: string, details: { status?: string; cause?: unknown } = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "RunnerError";
    this.code = code;
    this.status = details.status;
  }
}
