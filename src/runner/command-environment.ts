/**
 * The environment of a command: what the list allows of the server's, what the configuration sets, and what
 * the task is. Nothing else of the server's, such as its secrets or LD_PRELOAD, gets to a command.
 */

/** What a command gets of the server's environment where it has it; besides all LC_ variables. */
const inheritedNames: readonly string[] = [
  "PATH",
  "HOME",
  "USER",
  "LOGNAME",
  "SHELL",
  "LANG",
  "LANGUAGE",
  "TZ",
  "TMPDIR",
];

/** The largest metadata that is in STINT_METADATA too: a variable cannot have more than 128 KiB. */
const metadataMaxBytes = 64 * 1024;

export type Environment = Readonly<Record<string, string | undefined>>;

export interface EnvironmentConfig {
  /** Variables that are set. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** More names that are taken from the server's environment. */
  readonly passEnv?: readonly string[] | undefined;
}

/** What is wrong with the name of a variable in the configuration; undefined when nothing is. */
export function checkVariableName(name: string): string | undefined {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) return "must be letters, digits and _ with no digit first";
  return name.startsWith("STINT_") ? "must not begin with STINT_: those tell the command about its task" : undefined;
}

/** What is the same for all tasks. */
export function resolveEnvironment(config: EnvironmentConfig, server: Environment): Record<string, string> {
  const { env = {}, passEnv = [] } = config;
  const resolved: Record<string, string> = {};
  for (const [name, value] of Object.entries(server)) {
    if (value === undefined || name.startsWith("STINT_")) continue;
    if (inheritedNames.includes(name) || name.startsWith("LC_") || passEnv.includes(name)) resolved[name] = value;
  }
  return { ...resolved, ...env };
}

export interface TaskVariables {
  readonly taskId: string;
  readonly controller: string;
  readonly runId: string;
  readonly attempt: number;
  readonly fence: bigint;
  readonly progress: { readonly current: bigint; readonly total: bigint } | undefined;
  /** Empty for none. */
  readonly jsonMetadata: string;
}

/** What tells the command about its task. STINT_PROGRESS is not set where no progress is kept, STINT_METADATA not without metadata or above 64 KiB. */
export function taskEnvironment(task: TaskVariables): Record<string, string> {
  const { progress, jsonMetadata } = task;
  const hasMetadata = jsonMetadata !== "" && Buffer.byteLength(jsonMetadata) <= metadataMaxBytes;
  return {
    STINT_TASK_ID: task.taskId,
    STINT_CONTROLLER: task.controller,
    STINT_RUN_ID: task.runId,
    STINT_ATTEMPT: String(task.attempt),
    STINT_FENCE: String(task.fence),
    ...(progress === undefined ? {} : { STINT_PROGRESS: `${progress.current}/${progress.total}` }),
    ...(hasMetadata ? { STINT_METADATA: jsonMetadata } : {}),
  };
}
