/**
 * A secret that the tests of the built program hand to it all the time: in its environment, in a header of each call, and in the metadata and
 * labels of tasks. None of the processes that the harness starts may say it: where one does, the test that started it fails when it lets go of it.
 */
import type { Interceptor } from "@connectrpc/connect";

/** No word of any other test. */
export const canary = "canary-c0ffee-4711";

/** What is added to the environment of a process. */
export const canaryEnvironment = { STINT_TEST_SECRET: canary } as const;

/** Adds the token of a caller to each call. */
export const sendCanary: Interceptor = (next) => (request) => {
  request.header.set("authorization", `Bearer ${canary}`);
  return next(request);
};

/** Looks for the canary in what a process says. */
export class CanaryWatch {
  #rest = "";
  readonly #leaks: string[] = [];

  /** Takes what the process has said next, cut wherever. */
  take(said: string): void {
    const lines = (this.#rest + said).split("\n");
    this.#rest = lines.pop() ?? "";
    this.#leaks.push(...lines.filter((line) => line.includes(canary)));
  }

  /** Throws where the canary was said. */
  check(): void {
    this.take("\n");
    if (this.#leaks.length > 0) throw new Error(`a process has said what was to be kept: ${this.#leaks[0]}`);
  }
}
