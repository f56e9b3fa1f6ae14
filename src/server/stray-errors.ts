import type { Clock } from "../clock.ts";
import { loggable } from "../controller/describe-error.ts";
import type { Log } from "../log.ts";

/** What the code of a module's runner left behind, so that no task can be told of it. */
export interface StrayErrors {
  /** A promise was rejected and nobody handled that: the process goes on. */
  rejected(reason: unknown): void;
  /** Something was thrown that nobody caught, such as in a timer: the process is in no known state and has to end. */
  thrown(error: unknown): void;
}

const windowMs = 10_000;
const linesMax = 10;

/** Logs them: of the rejections at most ten in 10 s, each with how many there were until then. */
export function createStrayErrors(clock: Clock, log: Log): StrayErrors {
  let count = 0;
  let lines = 0;
  let windowEndMs = Number.NEGATIVE_INFINITY;
  return {
    rejected(reason) {
      count += 1;
      if (clock.mono() >= windowEndMs) {
        windowEndMs = clock.mono() + windowMs;
        lines = 0;
      }
      lines += 1;
      if (lines <= linesMax)
        log.error({ err: loggable(reason), count }, "a promise was rejected and nobody handled it; the server goes on");
    },
    thrown(error) {
      log.error({ err: loggable(error) }, "an error was thrown and nobody caught it; the server ends at once");
    },
  };
}
