import { resolve } from "node:path";
import { type Clock, systemClock } from "../clock.ts";
import { Faults } from "../faults.ts";
import { type Log, silentLog } from "../log.ts";
import { type Random, systemRandom } from "../random.ts";
import { type ControllerConfig, hoursMax } from "./config.ts";
import { checkCorsOrigin, parseOrigin } from "./cors.ts";
import { ServerError } from "./error.ts";
import { type Limits, type LimitName, resolveLimits } from "./limits.ts";
import { isLoopback, type ListenAddress, parseListenAddress } from "./listen-address.ts";
import type { TlsPaths } from "./tls-files.ts";

/** What startServer takes: the keys of the configuration file, and what no file can have. */
export interface ServerOptions {
  /** HOST:PORT; port 0 is any that is free. Default 127.0.0.1:7846. */
  readonly listen?: string | undefined;
  /** Where the store is; relative to the working directory. Default ./stint-data. */
  readonly dataDir?: string | undefined;
  /** The store as openStore takes it, such as "memory:"; instead of dataDir. */
  readonly store?: string | undefined;
  /** Allows an address that other machines can reach, without TLS. */
  readonly insecure?: boolean | undefined;
  /** A PEM file with the certificate and those that lead to its root; looked at again every 5 s. With `tlsKey`: TLS. */
  readonly tlsCert?: string | undefined;
  /** A PEM file with the certificate's key. */
  readonly tlsKey?: string | undefined;
  /** The origins of pages that may call, such as "https://tasks.example.com". Default none. */
  readonly corsOrigins?: readonly string[] | undefined;
  /** Default 1. */
  readonly historyHours?: number | undefined;
  /** Default 1 GiB. */
  readonly historyBytes?: number | undefined;
  /** How long ended tasks are kept, where a controller says nothing else. Default 24: a client must find its task after a restart. */
  readonly retentionHours?: number | undefined;
  /** Default none. */
  readonly controllers?: readonly ControllerConfig[] | undefined;
  /** Whether clients can ask what is served, and how. Default true. */
  readonly reflection?: boolean | undefined;
  /** Shown by GetServerInfo. */
  readonly version?: string | undefined;
  /** In the place of the defaults. */
  readonly limits?: Readonly<Partial<Record<LimitName, number | undefined>>> | undefined;
  /** How long runners that were told to stop may take, in ms; those that take longer are left, and resumed at the next start. Default 4,000. */
  readonly runnerGraceMs?: number | undefined;
  /** The id of this process, kept in `server.pid` of the data directory while the server is up. Default: there is no such file. */
  readonly pid?: number | undefined;
  /** The environment, of which commands get what is allowed (docs/operating.md). Default: nothing. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  /** Default: says nothing. */
  readonly log?: Log | undefined;
  /** Counts and logs what goes wrong, and what GetServerInfo shows of that. Default: one of its own, which logs to `log`. */
  readonly faults?: Faults | undefined;
}

/** A controller with what holds for it. */
export interface ResolvedController extends Pick<ControllerConfig, "name" | "runner" | "concurrency"> {
  readonly afterEndMs: number;
  readonly pendingTimeoutMs: number | undefined;
  readonly runningTimeoutMs: number | undefined;
  readonly limits: Limits;
}

export interface ResolvedServerOptions {
  readonly address: ListenAddress;
  /** As openStore takes it. */
  readonly store: string;
  /** Where the store is, if it is a directory. */
  readonly dataDir: string | undefined;
  readonly loopback: boolean;
  readonly tls: TlsPaths | undefined;
  readonly corsOrigins: readonly string[];
  readonly reflection: boolean;
  readonly historyMs: number;
  readonly historyBytes: number;
  readonly controllers: readonly ResolvedController[];
  /** How long ended tasks of a controller are kept that is not among them. */
  readonly afterEndMs: number;
  readonly version: string;
  readonly limits: Limits;
  readonly runnerGraceMs: number;
  readonly pid: number | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly faults: Faults;
}

const defaultListen = "127.0.0.1:7846";
const defaultDataDir = "stint-data";
const msPerHour = 3_600_000;

/** Every option with its default. Throws ServerError OPTION that names the option. */
export function resolveServerOptions(options: ServerOptions): ResolvedServerOptions {
  const { dataDir = defaultDataDir, historyHours = 1, retentionHours = 24, controllers = [] } = options;
  const address = parseListenAddress(options.listen ?? defaultListen);
  const loopback = isLoopback(address.host);
  const tls = resolveTls(options);
  if (!loopback && tls === undefined && options.insecure !== true) {
    throw new ServerError(
      "OPTION",
      `listen: other machines can reach ${options.listen}, and what is sent is not encrypted; give it tlsCert and tlsKey, allow that with insecure (--insecure), or listen on 127.0.0.1`,
    );
  }
  if (options.store !== undefined && options.dataDir !== undefined) {
    throw new ServerError("OPTION", "store and dataDir cannot both be set");
  }
  for (const [name, value] of Object.entries({ historyHours, retentionHours })) {
    if (!(value >= 0 && value <= hoursMax))
      throw new ServerError("OPTION", `${name} must be a number of hours, from 0 to ${hoursMax}`);
  }
  const names = controllers.map((controller) => controller.name);
  const twice = names.find((name, index) => names.indexOf(name) < index);
  if (twice !== undefined) throw new ServerError("OPTION", `controllers: there are two of the name "${twice}"`);
  const limits = resolveLimits(options.limits ?? {});
  const { clock = systemClock, log = silentLog } = options;
  const store = options.store ?? `level:${resolve(dataDir)}`;
  return {
    address,
    loopback,
    tls,
    corsOrigins: (options.corsOrigins ?? []).map(resolveOrigin),
    reflection: options.reflection ?? true,
    store,
    dataDir: store.startsWith("level:") ? resolve(store.slice("level:".length)) : undefined,
    // By the arithmetic of doubles 0.57 h are 2,051,999.9999999998 ms.
    historyMs: Math.max(1, Math.round(historyHours * msPerHour)),
    historyBytes: options.historyBytes ?? 1024 * 1024 * 1024,
    controllers: controllers.map((controller) => resolveController(controller, { ...options, retentionHours })),
    afterEndMs: Math.round(retentionHours * msPerHour),
    version: options.version ?? "unknown",
    limits,
    runnerGraceMs: options.runnerGraceMs ?? 4_000,
    pid: options.pid,
    env: options.env ?? {},
    clock,
    random: options.random ?? systemRandom,
    log,
    faults: options.faults ?? new Faults({ clock, log }),
  };
}

function resolveController(
  config: ControllerConfig,
  { limits = {}, retentionHours }: Pick<ServerOptions, "limits"> & { readonly retentionHours: number },
): ResolvedController {
  const { name, runner, concurrency, pendingTimeoutSeconds, runningTimeoutSeconds } = config;
  const { logMaxEntries = limits.logMaxEntries, logMaxBytes = limits.logMaxBytes } = config;
  return {
    name,
    runner,
    concurrency,
    afterEndMs: Math.round((config.retentionHours ?? retentionHours) * msPerHour),
    pendingTimeoutMs: timeoutMs(pendingTimeoutSeconds),
    runningTimeoutMs: timeoutMs(runningTimeoutSeconds),
    limits: resolveLimits({ ...limits, logMaxEntries, logMaxBytes }),
  };
}

function timeoutMs(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : Math.max(1, Math.round(seconds * 1_000));
}

function resolveTls({ tlsCert, tlsKey }: ServerOptions): TlsPaths | undefined {
  if (tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCert === undefined) throw new ServerError("OPTION", "tlsKey is set without tlsCert; TLS needs both");
  if (tlsKey === undefined) throw new ServerError("OPTION", "tlsCert is set without tlsKey; TLS needs both");
  return { cert: tlsCert, key: tlsKey };
}

function resolveOrigin(text: string): string {
  const origin = parseOrigin(text);
  if (origin !== undefined) return origin;
  throw new ServerError("OPTION", `corsOrigins: ${checkCorsOrigin(text)}`);
}
