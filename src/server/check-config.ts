import { type Config, type ConfigPath, configSchema } from "./config.ts";
import { ServerError } from "./error.ts";
import { prepareRunner } from "./host-runner.ts";
import { type FileProblem, formatPath, readConfigFile } from "./load-config.ts";
import { resolveServerOptions } from "./options.ts";
import { describeIssue } from "./plain-issue.ts";
import { loadTlsPair } from "./tls-files.ts";

/** What would be in force: the file, and what stands in its place. */
export interface Overridden {
  readonly config: Config;
  /** For each setting that is not the file's, whose it is: a variable or a flag, such as "STINT_LISTEN". */
  readonly sources: ReadonlyMap<string, string>;
  /** What of those is wrong already. */
  readonly problems: readonly SourceProblem[];
}

/** Something that is wrong with a variable or a flag. */
export interface SourceProblem {
  readonly source: string;
  readonly path: ConfigPath;
  readonly text: string;
}

/** One thing that is wrong, with whose it is: a line of the file, or else a variable or flag. */
export interface ConfigProblem {
  readonly line?: number;
  readonly source?: string;
  /** Begins with the key, where it is about one of the file. */
  readonly text: string;
}

export interface CheckConfigOptions {
  /** The environment that the server would have. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Makes of the file what would be in force, as variables of the environment are. Default: the file as it is. */
  readonly override?: ((config: Config) => Overridden) | undefined;
}

export interface CheckedConfig {
  /** What keeps a server from starting with it; empty when nothing does. */
  readonly problems: readonly ConfigProblem[];
  /** The names of its controllers. */
  readonly controllers: readonly string[];
}

/** The settings by which a server can be reached or not: one that is not known makes the others seem wrong. */
const reachKeys: readonly string[] = ["listen", "insecure", "tlsCert", "tlsKey"];

/**
 * Checks a configuration, of a file or of none, as far as that can be done without a start: loads the certificate and the modules with
 * runners (whose code runs for that), and looks for the commands. All that is wrong comes at once, in the order of the
 * file's lines and then what is not of the file. Throws ServerError CONFIG for a file that cannot be read.
 */
export async function checkConfig(file: string | undefined, options: CheckConfigOptions): Promise<CheckedConfig> {
  const read = file === undefined ? noFile : await readConfigFile(file);
  const asItIs = { config: read.config, sources: new Map<string, string>(), problems: [] };
  const { config, sources, problems: broken } = options.override?.(read.config) ?? asItIs;
  // A mistake in a setting of the file counts also where another is in force.
  const found = [...broken, ...checkSources(config, sources)];
  const isKnown = ({ path }: { path: ConfigPath }): boolean => !reachKeys.includes(String(path[0]));
  const add = (path: ConfigPath, text: string): void => {
    const key = String(path[0]);
    const source = sources.get(key);
    if (source === undefined) found.push({ line: read.lineOf(path), path, text });
    // Whose it is stands before it, which is a name enough.
    else found.push({ source, path, text: text.startsWith(`${key}: `) ? text.slice(key.length + 2) : text });
  };
  const wrong = [...found, ...read.problems];
  if (wrong.every(isKnown)) {
    // They begin with the key of the setting that they are about, such as "tlsKey".
    for (const text of await checkReach(config)) add((/^[\w.]+/.exec(text)?.[0] ?? "").split("."), text);
  }
  const { controllers = [] } = read.config;
  for (const [index, { name, runner }] of controllers.entries()) {
    const path = ["controllers", read.places[index] ?? 0, "runner", runner.module === undefined ? "exec" : "module"];
    const text = await complaintOf(() => prepareRunner(name, runner, options.env));
    if (text !== undefined) add(path, `${formatPath(path)}: ${text}`);
  }
  return {
    problems: [...read.problems, ...found]
      .sort((a, b) => lineOf(a) - lineOf(b))
      .map(({ path: _, ...problem }) => problem),
    controllers: controllers.map(({ name }) => name),
  };
}

type Found = FileProblem | SourceProblem;

const noFile = { config: {} as Config, places: [], problems: [] as FileProblem[], lineOf: () => 0 };

function lineOf(problem: Found): number {
  return "line" in problem ? problem.line : Number.POSITIVE_INFINITY;
}

/** What the file's schema says of settings that are not the file's. */
function checkSources(config: Config, sources: Overridden["sources"]): Found[] {
  return [...sources].flatMap(([key, source]) => {
    const name = key as keyof Config;
    const parsed = configSchema.shape[name].safeParse(config[name], { error: describeIssue });
    return (parsed.error?.issues ?? []).map(({ message }) => ({ source, path: [key], text: message }));
  });
}

/** Whether the server can be reached as it is to be: the address, and the certificate. */
async function checkReach(config: Config): Promise<string[]> {
  const { tlsCert: cert, tlsKey: key } = config;
  // What has a schema was held to it already.
  const setting = await complaintOf(() => resolveServerOptions({ ...config, controllers: [] }));
  const tls = cert && key && (await complaintOf(() => loadTlsPair({ cert, key })));
  return [setting, tls].flatMap((text) => text || []);
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
