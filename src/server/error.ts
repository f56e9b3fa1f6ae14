export type ServerErrorCode =
  /** The configuration file cannot be read, or something in it is wrong. */
  | "CONFIG"
  /** An option is wrong. */
  | "OPTION"
  /** The port cannot be had. */
  | "LISTEN"
  /** The module of a runner cannot be loaded, or has no runner. */
  | "RUNNER";

/** Why a server does not start. The message is for whoever starts it, and says what to do. */
export class ServerError extends Error {
  readonly code: ServerErrorCode;

  constructor(code: ServerErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "ServerError";
    this.code = code;
  }
}
