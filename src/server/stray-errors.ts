import { loggable } from "../controller/describe-error.ts";
import type { Faults } from "../faults.ts";
import type { Log } from "../log.ts";

/** What the code of a module's runner left behind, so that no task can be told of it. */
export interface StrayErrors {
  /** A promise was rejected and nobody handled that: the process goes on. */
  rejected(reason: unknown): void;
  /** Something was thrown that nobody caught, such as in a timer: the process is in no known state and has to end. */
  thrown(error: unknown): void;
}

/** Counts and logs them. */
export function createStrayErrors(faults: Faults, log: Log): StrayErrors {
  return {
    rejected(reason) {
      const message = "a promise was rejected and nobody handled it; the server goes on";
      faults.note("stray_errors", { err: loggable(reason) }, message);
    },
    thrown(error) {
      log.error({ err: loggable(error) }, "an error was thrown and nobody caught it; the server ends at once");
    },
  };
}
