/** What the listener and a call may take. Sizes are bytes, times are ms. */
export interface ServerLimits {
  /** One message of a request. */
  readonly requestMaxBytes: number;
  /** One message of an answer. */
  readonly responseMaxBytes: number;
  /** The bytes of requests that are being received, of all connections together; above it new calls are refused. */
  readonly inFlightMaxBytes: number;
  /** All headers of a request. */
  readonly headerListMaxBytes: number;
  readonly headerPairsMax: number;
  /** Connections. */
  readonly sessionsMax: number;
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
}

/** The limits of docs/reliability.md section 3.2. */
export const defaultServerLimits: ServerLimits = {
  requestMaxBytes: 1024 * 1024,
  responseMaxBytes: 4 * 1024 * 1024,
  inFlightMaxBytes: 256 * 1024 * 1024,
  headerListMaxBytes: 16 * 1024,
  headerPairsMax: 64,
  sessionsMax: 1_024,
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
};
