import { parkCrashCount } from "../task/apply.ts";
import type { ControllerLimits } from "../controller/core.ts";
import { defaultControllerLimits } from "../controller/open-controller.ts";
import { runnerLimits } from "../rpc/runner-limits.ts";
import { requestLimits } from "../rpc/validate.ts";
import { ServerError } from "./error.ts";

/** What the listener and a call may take. Sizes are bytes, times are ms. */
export interface ServerLimits {
  /** One message of a request. */
  readonly requestMaxBytes: number;
  /** The message of a request of BatchLaunchTasks. */
  readonly batchRequestMaxBytes: number;
  /** One message of an answer. */
  readonly responseMaxBytes: number;
  /** The bytes of requests that are being received, of all connections together; above it new calls are refused. */
  readonly inFlightMaxBytes: number;
  /** All headers of a request. */
  readonly headerListMaxBytes: number;
  readonly headerPairsMax: number;
  /** Connections. */
  readonly sessionsMax: number;
  /** Connections from one address. */
  readonly sessionsPerIpMax: number;
  /** Calls under way on one connection. */
  readonly streamsPerSessionMax: number;
  /** Calls that one connection may open in a second; more wait for up to a second, then are refused; far above it the connection is closed. */
  readonly streamOpensPerSecondMax: number;
  /** The longest deadline of a stream; a longer one is clamped. */
  readonly timeoutMaxMs: number;
  /** The deadline of a unary call; a longer one is clamped. */
  readonly unaryDeadlineMs: number;
  /** How long a call may wait for the end of a task. */
  readonly waitMaxMs: number;
  /** How long it may take to receive a request. */
  readonly receiveMaxMs: number;
  /** How long a new connection may take to send its first request. */
  readonly firstRequestMaxMs: number;
  /** How long a connection may be without a call. */
  readonly idleMaxMs: number;
  /** How often a connection is asked whether its peer is still there. */
  readonly pingIntervalMs: number;
  /** How long the peer may take to answer. */
  readonly pingTimeoutMs: number;
  /** How long a peer may take to read what it was sent. */
  readonly writeStallMaxMs: number;
  /** Launches that are worked on at one time, each of a batch counted; others wait for about a second, or are refused at once where it would be longer. */
  readonly launchesAtOnceMax: number;
  /** How long a remote runner counts as alive after its last message. */
  readonly leaseMs: number;
  /** Remote runners of a controller, each counted until its lease is over. */
  readonly runnersMax: number;
  /** Controllers that runners have made by connecting. */
  readonly runnerControllersMax: number;
  /** Messages of one runner that are read in a second, beside those that its offers bring room for. */
  readonly runnerMessagesPerSecondMax: number;
  /** Launches are refused while the disk of the store has less room than this. */
  readonly diskReserveBytes: number;
  /** The same in percent of the disk; the larger of the two holds. */
  readonly diskReservePercent: number;
}

/** The limits that are in force where nothing else is configured. */
export const defaultServerLimits: ServerLimits = {
  requestMaxBytes: 1024 * 1024,
  batchRequestMaxBytes: 4 * 1024 * 1024,
  responseMaxBytes: 4 * 1024 * 1024,
  inFlightMaxBytes: 256 * 1024 * 1024,
  headerListMaxBytes: 16 * 1024,
  headerPairsMax: 64,
  sessionsMax: 1_024,
  sessionsPerIpMax: 64,
  streamsPerSessionMax: 1_000,
  streamOpensPerSecondMax: 1_000,
  timeoutMaxMs: 24 * 60 * 60 * 1000,
  unaryDeadlineMs: 30_000,
  waitMaxMs: 25_000,
  receiveMaxMs: 10_000,
  firstRequestMaxMs: 10_000,
  idleMaxMs: 5 * 60 * 1000,
  pingIntervalMs: 30_000,
  pingTimeoutMs: 15_000,
  writeStallMaxMs: 60_000,
  launchesAtOnceMax: 128,
  leaseMs: 15_000,
  runnersMax: 1_000,
  runnerControllersMax: 1_000,
  runnerMessagesPerSecondMax: 2_000,
  diskReserveBytes: 256 * 1024 * 1024,
  diskReservePercent: 5,
};

/** All limits that a server can be given. `watchersMax` holds for all its controllers together, the others of a controller for each. */
export type Limits = ServerLimits & ControllerLimits;

export const defaultLimits: Limits = {
  ...defaultControllerLimits,
  progressPerSecondMax: 10,
  ...defaultServerLimits,
};

/** The limits that can be configured: all but the length of an id, which every client may rely on. */
export const limitNames = Object.keys(defaultLimits).filter((name) => name !== "idMaxBytes") as LimitName[];
export type LimitName = Exclude<keyof Limits, "idMaxBytes">;

/** What GetServerInfo shows beside those: they cannot be configured. */
export const fixedLimits = { ...requestLimits, ...runnerLimits, crashesMax: parkCrashCount };

/** The rules of the proto name these, and clients may check them before they call: they can be lowered only. */
const ruledNames: readonly LimitName[] = ["labelsMax", "labelKeyMaxBytes", "labelValueMaxBytes", "messageMaxBytes"];

/** From where to where a limit can be set. */
export function limitRange(name: LimitName): { min: number; max: number } {
  // Below, a busy machine alone would be taken for a runner that died; a runner that died must not hold its tasks for longer.
  if (name === "leaseMs") return { min: 5_000, max: 60 * 60 * 1000 };
  // A day fits into a timer and into a grpc-timeout.
  if (name.endsWith("Ms")) return { min: 1, max: 24 * 60 * 60 * 1000 };
  // Beyond that the decoders of a Struct give up by themselves.
  if (name === "metadataMaxDepth") return { min: 1, max: 100 };
  if (name === "diskReserveBytes") return { min: 0, max: Number.MAX_SAFE_INTEGER };
  if (name === "diskReservePercent") return { min: 0, max: 100 };
  if (ruledNames.includes(name)) return { min: 1, max: defaultLimits[name] };
  return { min: 1, max: 2 ** 31 - 1 };
}

/** All limits, those of `set` in the place of the defaults. Throws ServerError OPTION for one that is not there, or out of range. */
export function resolveLimits(set: Readonly<Partial<Record<LimitName, number | undefined>>>): Limits {
  for (const [name, value] of Object.entries(set)) {
    if (!limitNames.includes(name as LimitName)) throw new ServerError("OPTION", `limits: there is no ${name}`);
    const { min, max } = limitRange(name as LimitName);
    if (value !== undefined && !(Number.isInteger(value) && value >= min && value <= max)) {
      throw new ServerError("OPTION", `limits.${name} must be a whole number from ${min} to ${max}`);
    }
  }
  const given = Object.fromEntries(Object.entries(set).filter(([, value]) => value !== undefined));
  return { ...defaultLimits, ...given };
}
