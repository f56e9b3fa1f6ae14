/** Whether a lease of a remote runner may be over: only where the server could have heard of the runner, and did not, for nearly as long. */
import { fromBinary } from "@bufbuild/protobuf";
import { LeaseSchema } from "#gen/stint/store/v1/record_pb.js";
import { leaseMs } from "./plan.ts";

/** A lease is counted by ticks, which see less than there was. */
const silenceMs = leaseMs * 0.9;
/** How long a store that fails may hold up the commit of what a silence led to. */
const commitMs = 30_000;

export class LeaseCheck {
  /** Which instance has the lease. */
  readonly #holders = new Map<string, string>();
  readonly #heardMs = new Map<string, number>();
  /** When the last long silence was over. */
  readonly #silentUntilMs = new Map<string, number>();
  /** How long the server was not held up, up to now. */
  servedMs: () => number = () => 0;

  /** A lease that was written. */
  see(key: string, value: Uint8Array): void {
    this.#holders.set(key, fromBinary(LeaseSchema, value).instanceId);
  }

  /** Something of the runner has got to the server. */
  heard(instanceId: string): void {
    const servedMs = this.servedMs();
    const beforeMs = this.#heardMs.get(instanceId);
    this.#heardMs.set(instanceId, servedMs);
    if (beforeMs !== undefined && servedMs - beforeMs >= silenceMs) this.#silentUntilMs.set(instanceId, servedMs);
  }

  mayBeOver(key: string): boolean {
    const instanceId = this.#holders.get(key) ?? "";
    const heardMs = this.#heardMs.get(instanceId);
    const silentUntilMs = this.#silentUntilMs.get(instanceId) ?? Number.NEGATIVE_INFINITY;
    return (
      heardMs === undefined || this.servedMs() - heardMs >= silenceMs || this.servedMs() - silentUntilMs < commitMs
    );
  }
}
