import { exitCode } from "./exit-code.ts";

/** Ends the command with a message for people, and never a stack. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly exitCode: number;
  /** What is wrong one by one, such as each bad field of a request. */
  readonly violations: readonly string[];
  /** What to do next. */
  readonly hints: readonly string[];

  constructor(message: string, options: CliErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.exitCode = options.exitCode ?? exitCode.failed;
    this.violations = options.violations ?? [];
    this.hints = options.hints ?? [];
  }
}

export interface CliErrorOptions {
  /** Default 1. */
  readonly exitCode?: number;
  readonly violations?: readonly string[];
  readonly hints?: readonly string[];
  readonly cause?: unknown;
}
