import type { Host } from "./host.ts";

/** The host of a controller whose tasks nobody runs: they wait, and ends are kept for who runs them next. */
export function createNoHost(controller: string): Host {
  return {
    kind: "none",
    isIsolated: false,
    whatIsWaitedFor: () => `a runner: ${whyRetired(controller)}`,
    takeSeat: () => undefined,
    recall: () => undefined,
    onSeat: () => {},
    // A run that was never offered is in its first attempt still.
    keepsEnd: ({ attempt }) => attempt > 1,
    canTell: false,
    tellEnd: () => Promise.resolve("kept"),
    close: () => {},
  };
}

/** Why a controller has no runner. */
export function whyRetired(controller: string): string {
  return `the configuration no longer names the controller "${controller}"`;
}
