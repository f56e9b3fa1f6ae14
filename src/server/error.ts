export type ServerErrorCode =
  /** The configuration file cannot be read, or something in it is wrong. */
  | "CONFIG"
  /** An option is wrong. */
  | "OPTION"
  /** The port cannot be had. */
  | "LISTEN"
  /** A runner cannot be had: its module cannot be loaded or has none, its command is not there. */
  | "RUNNER"
  /** A command that a server before has left does not end. */
  | "LEFT_COMMAND";

/** Why a server does not start. The message is for whoever starts it, and says what to do. */
export class ServerError extends Error {
  readonly code: ServerErrorCode;

  constructor(code: ServerErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "ServerError";
    this.code = code;
  }
}
