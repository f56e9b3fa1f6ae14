import type { TaskRunner } from "../controller/task-runner.ts";
import { type Log, silentLog } from "../log.ts";
import { checkControllerName, taskIdPattern } from "../task/ids.ts";
import { RunnerError } from "./error.ts";

/** What `runRemote` is told. */
export interface RunRemoteOptions {
  /** The server: HOST:PORT, or https://HOST:PORT for TLS. */
  readonly target: string;
  /** The controller whose tasks are run. One that is not there is made. */
  readonly controller: string;
  /** How many tasks are run at one time, 1 to 1,000. Each takes a place until its last phase has ended. */
  readonly capacity: number;
  /** The code that does the work; the same that `openController` takes. */
  readonly runner: TaskRunner;
  /** What people know it by, as in `status.runner`. Default: the machine's name and the pid. */
  readonly name?: string | undefined;
  /** Over https://: who may have signed the server's certificate, or that certificate itself (PEM). Default: those that Node knows. */
  readonly ca?: string | undefined;
  /** Drains when it is aborted, as `drain()` does. */
  readonly signal?: AbortSignal | undefined;
  /** The signals of the process that drain; the second one has the tasks stopped at once. Default: SIGTERM. */
  readonly signals?: ReadonlyArray<(typeof signalNames)[number]> | undefined;
  /** How long tasks may go on once draining, in ms, before they are told to stop (SHUTDOWN). Default 20,000. */
  readonly drainMs?: number | undefined;
  /** Default: says nothing. */
  readonly log?: Log | undefined;
}

/** The options with nothing left out. */
export type ResolvedOptions = Omit<Required<RunRemoteOptions>, "ca" | "signal"> &
  Pick<RunRemoteOptions, "ca" | "signal">;

const signalNames = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const;
const capacityMax = 1_000;
const portMax = 65_535;
const drainDefaultMs = 20_000;

/** Throws RunnerError OPTION that names what is wrong; also for what the types forbid, as programs in JavaScript have none. */
export function resolveOptions(options: RunRemoteOptions | undefined, defaultName: () => string): ResolvedOptions {
  const given = options ?? ({} as Partial<RunRemoteOptions> as RunRemoteOptions);
  const { name = defaultName(), signals = ["SIGTERM"], drainMs = drainDefaultMs, log = silentLog } = given;
  const { target, controller, capacity, runner, ca } = given;
  if (!isTarget(target)) throw wrong("target", "must be HOST:PORT, or https://HOST:PORT");
  const complaint = typeof controller === "string" ? checkControllerName(controller) : "must be set, to a name";
  if (complaint !== undefined) throw wrong("controller", complaint);
  if (!Number.isInteger(capacity) || capacity < 1 || capacity > capacityMax)
    throw wrong("capacity", `must be a whole number from 1 to ${capacityMax}`);
  if (typeof runner?.onTaskRunning !== "function") throw wrong("runner", "must have a function onTaskRunning");
  // Names of runners look as ids of tasks do.
  if (typeof name !== "string" || !taskIdPattern.test(name))
    throw wrong("name", "must be 1 to 128 letters, digits and ._:@- with a letter or digit first");
  if (ca !== undefined && !/^-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----/m.test(ca))
    throw wrong("ca", "must have a certificate, in PEM");
  if (!areSignals(signals)) throw wrong("signals", `must be a list of ${signalNames.join(", ")}`);
  if (!(drainMs >= 0)) throw wrong("drainMs", "must be a time in ms");
  return { ...given, name, signals, drainMs, log };
}

function areSignals(given: unknown): boolean {
  const known: readonly unknown[] = signalNames;
  return Array.isArray(given) && given.every((each: unknown) => known.includes(each));
}

function isTarget(target: unknown): boolean {
  if (typeof target !== "string") return false;
  const [, host, port] = /^(?:https:\/\/)?([^\s/]+):(\d{1,5})$/.exec(target) ?? [];
  return host !== undefined && Number(port) >= 1 && Number(port) <= portMax;
}

function wrong(option: string, why: string): RunnerError {
  return new RunnerError("OPTION", `${option} ${why}`);
}
