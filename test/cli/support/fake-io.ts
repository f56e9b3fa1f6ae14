import type { Io, TextOutput } from "../../../src/cli/io.ts";
import { type Clock, systemClock } from "../../../src/clock.ts";

/** An output that keeps what was written. */
export interface CapturedOutput extends TextOutput {
  readonly text: string;
  readonly lines: string[];
  resize(columns: number): void;
}

/** A process that is none: what goes in is given, what comes out is kept. */
export interface FakeIo extends Io {
  readonly stdout: CapturedOutput;
  readonly stderr: CapturedOutput;
  /** What a signal does. */
  interrupt(reason: Error): void;
  /** What the process does when it exits. */
  exit(): void;
}

export interface FakeIoOptions {
  /** Default "stint". */
  readonly program?: string;
  readonly terminal?: boolean;
  readonly columns?: number;
  readonly env?: Record<string, string>;
  readonly stdin?: string;
  readonly clock?: Clock;
}

export function createFakeIo(options: FakeIoOptions = {}): FakeIo {
  const { program = "stint", terminal = false, columns = 80, env = {}, stdin = "", clock = systemClock } = options;
  const stopping = new AbortController();
  const restores = new Set<() => void>();
  return {
    stdout: createOutput(terminal, columns),
    stderr: createOutput(terminal, columns),
    program,
    pid: 4711,
    readStdin: async () => stdin,
    env: { LANG: "C.UTF-8", ...env },
    clock,
    random: { id: () => "id", fraction: () => 0.5 },
    signal: stopping.signal,
    onExit(restore) {
      restores.add(restore);
      return () => restores.delete(restore);
    },
    onUncaught: () => {},
    interrupt: (reason) => stopping.abort(reason),
    exit() {
      for (const restore of restores) restore();
    },
  };
}

function createOutput(isTerminal: boolean, columns: number): CapturedOutput {
  const written: string[] = [];
  const listeners = new Set<() => void>();
  const size = { columns };
  return {
    isTerminal,
    columns: () => size.columns,
    onResize(resized) {
      listeners.add(resized);
      return () => listeners.delete(resized);
    },
    write: (text) => void written.push(text),
    drained: async () => {},
    resize(to) {
      size.columns = to;
      for (const listener of listeners) listener();
    },
    get text() {
      return written.join("");
    },
    get lines() {
      return written.join("").split("\n").slice(0, -1);
    },
  };
}

/** The machine's clock with waits of a tenth, so that backoffs do not hold up the tests. */
export const hastyClock: Clock = {
  ...systemClock,
  after: (delayMs, fire) => systemClock.after(delayMs / 10, fire),
};
