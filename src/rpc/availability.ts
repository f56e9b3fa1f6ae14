/**
 * Whether calls are taken just now, in one place for the services, for health
 * and for the streams that have to end.
 *
 * Phases: starting -> serving -> draining; the store may fail and come back in any.
 *
 * 1. The phase never goes back.
 * 2. Serving means: in the phase "serving", with the store healthy.
 * 3. A listener is told of each change of what `serving` or `draining` say, and
 *    of none else. It is on the list until it is taken off.
 */
import { ControllerError } from "../controller/error.ts";

export type ServerPhase = "starting" | "serving" | "draining";

export interface Availability {
  readonly serving: boolean;
  readonly draining: boolean;
  /** Why calls are refused just now: UNAVAILABLE with RetryInfo; undefined while serving. */
  refusal(): ControllerError | undefined;
  /** Calls the listener at each change; the returned function takes it off. */
  onChange(listener: () => void): () => void;
  /** Enters a later phase; an earlier one is ignored. */
  enter(phase: ServerPhase): void;
  setStoreHealthy(healthy: boolean): void;
}

const phases: readonly ServerPhase[] = ["starting", "serving", "draining"];

export function createAvailability(): Availability {
  const listeners = new Set<() => void>();
  let phase: ServerPhase = "starting";
  let storeHealthy = true;

  function tell(): void {
    // A listener may take others off, or itself, while they are told.
    for (const listener of Array.from(listeners)) listener();
  }

  return {
    get serving() {
      return phase === "serving" && storeHealthy;
    },
    get draining() {
      return phase === "draining";
    },
    refusal() {
      if (phase === "draining") return drainingError();
      if (phase === "starting") return storeError("the server is starting");
      return storeHealthy ? undefined : storeError("the store cannot be read or written just now");
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    enter(next) {
      if (phases.indexOf(next) <= phases.indexOf(phase)) return;
      phase = next;
      tell();
    },
    setStoreHealthy(healthy) {
      if (healthy === storeHealthy) return;
      storeHealthy = healthy;
      tell();
    },
  };
}

/** UNAVAILABLE because the server stops; `metadata` may say from which revision to continue elsewhere. */
export function drainingError(metadata?: Readonly<Record<string, string>>): ControllerError {
  return new ControllerError("UNAVAILABLE", "the server is stopping; try again", {
    reason: "DRAINING",
    retryDelayMs: 1_000,
    ...(metadata === undefined ? {} : { metadata }),
  });
}

function storeError(message: string): ControllerError {
  return new ControllerError("UNAVAILABLE", message, { reason: "STORE_UNAVAILABLE", retryDelayMs: 500 });
}
