import type { Config } from "./config.ts";
import { ServerError } from "./error.ts";
import { prepareRunner } from "./host-runner.ts";
import { type ConfigPath, type ConfigProblem, formatPath, readConfigFile } from "./load-config.ts";
import { resolveServerOptions } from "./options.ts";
import { loadTlsPair } from "./tls-files.ts";

export interface CheckConfigOptions {
  /** The environment that the server would have. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Makes of the file what would be in force, as variables of the environment are. Default: the file as it is. */
  readonly override?: ((config: Config) => Config) | undefined;
}

export interface CheckedConfig {
  /** What keeps a server from starting with it; empty when nothing does. */
  readonly problems: readonly ConfigProblem[];
  /** The names of its controllers. */
  readonly controllers: readonly string[];
}

/**
 * Checks a configuration file as far as that can be done without a start: loads the certificate and the modules with runners (whose code
 * runs for that), and looks for the commands. Throws ServerError CONFIG for a file that cannot be read.
 */
export async function checkConfig(file: string, { env, override }: CheckConfigOptions): Promise<CheckedConfig> {
  const { config, problems, lineOf } = await readConfigFile(file);
  if (problems.length > 0) return { problems, controllers: [] };
  const inForce = override?.(config) ?? config;
  const { tlsCert: cert, tlsKey: key, controllers = [] } = inForce;
  const complaints: Array<{ readonly text: string; readonly path: ConfigPath }> = [];
  const setting = await complaintOf(() => resolveServerOptions(inForce));
  const tls = cert && key && (await complaintOf(() => loadTlsPair({ cert, key })));
  // They begin with the key of the setting that they are about, such as "limits.activeMax".
  for (const text of [setting, tls]) {
    if (text) complaints.push({ text, path: (/^[\w.]+/.exec(text)?.[0] ?? "").split(".") });
  }
  for (const [index, { name, runner }] of controllers.entries()) {
    const path = ["controllers", index, "runner", runner.module === undefined ? "exec" : "module"];
    const text = await complaintOf(() => prepareRunner(name, runner, env));
    if (text !== undefined) complaints.push({ text: `${formatPath(path)}: ${text}`, path });
  }
  return {
    problems: complaints.map(({ text, path }) => ({ line: lineOf(path), text })),
    controllers: controllers.map(({ name }) => name),
  };
}

async function complaintOf(work: () => unknown): Promise<string | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (error instanceof ServerError) return error.message;
    throw error;
  }
}
