/**
 * The composition root: the store, the controllers on it, and the port.
 *
 * It owns all three, and gives them up in this order: calls, controllers, the commands they have started, store.
 *
 * States: starting -> serving -> draining -> closed; from any of them to closed.
 *
 * 1. The port is open before the store is, and refuses calls until all is there: an
 *    address that is taken is found out before any task is resumed.
 * 2. What was opened when a start fails is closed again.
 * 3. Closing ends within `closeMaxMs`, whatever a client or a runner does. Nothing that was
 *    acknowledged is lost by that: it is on disk already.
 */
import { sleep } from "../clock.ts";
import { formatAddress } from "./listen-address.ts";
import { type ConfiguredRunner, prepareRunner } from "./host-runner.ts";
import {
  type ResolvedController,
  type ResolvedServerOptions,
  resolveServerOptions,
  type ServerOptions,
} from "./options.ts";
import { ServerParts } from "./server-parts.ts";

export interface RunningServer {
  /** HOST:PORT, the port as it is. */
  readonly address: string;
  readonly host: string;
  readonly port: number;
  /** The names of the controllers that it hosts. */
  readonly controllers: readonly string[];
  /** The store as openStore took it. */
  readonly store: string;
  /** Undefined: in the clear. */
  readonly tls: ServedTls | undefined;
  /** Stops: refuses calls, ends watches, lets the calls under way finish for at most `graceMs` (default 3,000), stops runners, closes the store. Idempotent. */
  close(options?: { graceMs?: number }): Promise<void>;
  /** Resolves when it is closed, and rejects where closing failed. */
  readonly closed: Promise<void>;
}

/** How clients reach a server with TLS. */
export interface ServedTls {
  /** The file with its certificate. */
  readonly certFile: string;
  /** HOST:PORT for which the certificate is; undefined where it is for none that is known. */
  readonly address: string | undefined;
}

/** The longest that closing takes. */
const closeMaxMs = 10_000;
const closeGraceMs = 3_000;

/**
 * Starts a server: resolves when it serves. Throws ServerError for what is wrong with
 * the options, StoreError (LOCKED, DAMAGED) for a store that cannot be opened.
 */
export async function startServer(options: ServerOptions = {}): Promise<RunningServer> {
  const resolved = resolveServerOptions(options);
  const { log, address, clock } = resolved;
  const runners = new Map<ResolvedController, ConfiguredRunner>();
  for (const controller of resolved.controllers)
    runners.set(controller, await prepareRunner(controller.name, controller.runner, resolved.env));

  const parts = new ServerParts(resolved);
  try {
    await parts.listen();
    await parts.openStore();
    await parts.openCommands();
    for (const [controller, runner] of runners) await parts.openController(controller, runner);
    await parts.openOtherControllers();
    parts.availability.enter("serving");
  } catch (error) {
    await parts.close(0);
    throw error;
  }
  const { port } = parts.listener;
  const { tlsHost } = parts;
  if (!resolved.loopback && resolved.tls === undefined)
    log.warn({ address: options.listen }, "other machines can reach the server, and nothing is encrypted");
  log.info({ address: formatAddress({ host: address.host, port }), store: resolved.store }, "the server is up");

  let settle: (closed: Promise<void>) => void = () => {};
  const closed = new Promise<void>((resolve) => {
    settle = resolve;
  });
  // Who closes sees a failure too; nobody has to wait for this one.
  closed.catch(() => {});
  let closing: Promise<void> | undefined;
  // A start that failed gives up its parts without a word: nothing was up, and the error says why.
  const stop = async (graceMs: number): Promise<void> => {
    log.info({}, "the server is stopping");
    await parts.close(graceMs);
    log.info({}, "the server has stopped");
  };
  return {
    address: formatAddress({ host: address.host, port }),
    host: address.host,
    port,
    controllers: resolved.controllers.map(({ name }) => name),
    store: resolved.store,
    tls: resolved.tls && { certFile: resolved.tls.cert, address: tlsHost && formatAddress({ host: tlsHost, port }) },
    close({ graceMs = closeGraceMs } = {}) {
      if (closing === undefined) {
        closing = withinTime(stop(graceMs), { clock, log, maxMs: closeMaxMs });
        settle(closing);
      }
      return closing;
    },
    closed,
  };
}

async function withinTime(
  work: Promise<void>,
  { clock, log, maxMs }: Pick<ResolvedServerOptions, "clock" | "log"> & { maxMs: number },
): Promise<void> {
  const done = new AbortController();
  const ended = work.finally(() => done.abort());
  const timeout = sleep(clock, maxMs, done.signal).then(() => {
    if (!done.signal.aborted)
      log.error({ maxMs }, "closing took too long, and was given up; all that was acknowledged is on disk");
  });
  await Promise.race([ended, timeout.then(() => (done.signal.aborted ? ended : undefined))]);
}
