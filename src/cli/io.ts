import type { Clock } from "../clock.ts";
import type { Random } from "../random.ts";

/** Where text goes: stdout or stderr. */
export interface TextOutput {
  /** Whether a person looks at it. */
  readonly isTerminal: boolean;
  /** How many columns the terminal has now; 80 where there is none. */
  columns(): number;
  /** Calls `resized` after each change of the terminal's size, until the returned function is called. */
  onResize(resized: () => void): () => void;
  write(text: string): void;
  /** Resolves when the reader has taken what was written: wait before writing a lot more. */
  drained(): Promise<void>;
}

/** The process as the commands see it; main.ts makes the real one, tests make theirs. */
export interface Io {
  /** How this program is called in this shell, such as "stint". */
  readonly program: string;
  /** The id of this process. */
  readonly pid: number;
  readonly stdout: TextOutput;
  readonly stderr: TextOutput;
  /** All of the standard input, as text. */
  readStdin(): Promise<string>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly random: Random;
  /** Aborted with an Interrupted when the process is asked to stop. */
  readonly signal: AbortSignal;
  /** Calls `restore` when the process exits, however that comes about, until the returned function is called. */
  onExit(restore: () => void): () => void;
  /** Has `take` told, from now on, what nobody caught; it returns whether the process goes on. Without one, the process says it and ends. */
  onUncaught(take: (event: UncaughtEvent, error: unknown) => boolean): void;
}

/** Something was thrown, or a promise rejected, and nobody caught it: Node's names. */
export type UncaughtEvent = "uncaughtException" | "unhandledRejection";

/** Why Io.signal was aborted. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  /** What a shell reports for a process that this signal ended. */
  readonly exitCode: number;

  constructor(signalName: "SIGINT" | "SIGTERM") {
    super(`stopped by ${signalName}`);
    this.exitCode = signalName === "SIGINT" ? 130 : 143;
  }
}

/** Whether colors are to be used on an output: on a terminal, unless NO_COLOR is set (https://no-color.org). */
export function wantsColor(io: Io, output: TextOutput): boolean {
  return output.isTerminal && !io.env.NO_COLOR && io.env.TERM !== "dumb";
}

/** Whether the environment's locale has more than ASCII. */
export function hasUnicode(env: Io["env"]): boolean {
  return /utf-?8/i.test(env.LC_ALL || env.LC_CTYPE || env.LANG || "");
}
