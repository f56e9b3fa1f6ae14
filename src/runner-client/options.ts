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
  readonly signals?: ReadonlyArray<"SIGTERM" | "SIGINT" | "SIGHUP" | "SIGQUIT"> | undefined;
  /** How long tasks may go on once draining, in ms, before they are told to stop (SHUTDOWN). Default 20,000. */
  readonly drainMs?: number | undefined;
  /** Default: says nothing. */
  readonly log?: Log | undefined;
}

/** The options with nothing left out. */
export type ResolvedOptions = Omit<Required<RunRemoteOptions>, "ca" | "signal"> &
  Pick<RunRemoteOptions, "ca" | "signal">;

const capacityMax = 1_000;
const portMax = 65_535;
const drainDefaultMs = 20_000;

/** Throws RunnerError OPTION that names what is wrong. */
export function resolveOptions(options: RunRemoteOptions, defaultName: () => string): ResolvedOptions {
  const { signals = ["SIGTERM"], drainMs = drainDefaultMs, log = silentLog } = options;
  const resolved = { ...options, name: options.name ?? defaultName(), signals, drainMs, log };
  const { target, controller, capacity, runner, name, ca } = resolved;
  const port = /^(?:https?:\/\/)?[^\s/]+:(\d{1,5})$/.exec(target)?.[1];
  if (port === undefined || Number(port) < 1 || Number(port) > portMax)
    throw wrong("target", "must be HOST:PORT, or https://HOST:PORT");
  const complaint = checkControllerName(controller);
  if (complaint !== undefined) throw wrong("controller", complaint);
  if (!Number.isInteger(capacity) || capacity < 1 || capacity > capacityMax)
    throw wrong("capacity", `must be a whole number from 1 to ${capacityMax}`);
  if (typeof runner?.onTaskRunning !== "function") throw wrong("runner", "must have a function onTaskRunning");
  // Names of runners look as ids of tasks do.
  if (!taskIdPattern.test(name))
    throw wrong("name", "must be 1 to 128 letters, digits and ._:@- with a letter or digit first");
  if (ca !== undefined && !/^-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----/m.test(ca))
    throw wrong("ca", "must have a certificate, in PEM");
  if (!(drainMs >= 0)) throw wrong("drainMs", "must be a time in ms");
  return resolved;
}

function wrong(option: string, why: string): RunnerError {
  return new RunnerError("OPTION", `${option} ${why}`);
}
