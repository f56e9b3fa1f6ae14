/** The times that a server tells its runners. One that nobody could keep, such as none at all, counts as not told. */
import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import type { RunnerWelcome } from "#gen/stint/v1/runner_pb.js";

const defaultLeaseMs = 15_000;
const minMs = 10;

/** How long this runner counts as alive after its last message. */
export function leaseMsOf(welcome: RunnerWelcome | undefined): number {
  return toldMs(welcome?.lease) ?? defaultLeaseMs;
}

/** How often it says that it is; often enough for the lease, whatever the server told. */
export function keepaliveMsOf(welcome: RunnerWelcome | undefined): number {
  const everyMs = leaseMsOf(welcome) / 3;
  return Math.min(toldMs(welcome?.keepalive) ?? everyMs, everyMs);
}

/** How long the next phase of a task is waited for: the server gives its offer up long before that. */
export function nextPhaseMsOf(welcome: RunnerWelcome | undefined): number {
  const leaseMs = leaseMsOf(welcome);
  return Math.min(3 * (toldMs(welcome?.offerTimeout) ?? leaseMs), leaseMs);
}

function toldMs(duration: Duration | undefined): number | undefined {
  const ms = duration === undefined ? 0 : durationMs(duration);
  return ms >= minMs ? ms : undefined;
}
