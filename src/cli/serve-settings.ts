import { InvalidArgumentError, Option } from "commander";
import type { Overridden, SourceProblem } from "../server/check-config.ts";
import type { Config } from "../server/config.ts";
import { createCountParser } from "./arguments.ts";

/** What of the configuration can stand on the command line and in the environment too: all but the controllers and the limits. */
export type ServeSettings = Omit<Config, "controllers" | "limits">;

interface Setting {
  readonly key: keyof ServeSettings;
  readonly flags: string;
  readonly env: string;
  readonly description: string;
  /** The values that there are, for help and completion. */
  readonly names?: readonly string[];
  /** A flag without a value has none. */
  readonly parse?: (text: string) => unknown;
}

const logLevels = ["debug", "info", "warn", "error"];

/** Each setting once: its key in the file, its flag and its variable. */
const settings: readonly Setting[] = [
  {
    key: "listen",
    flags: "--listen <host:port>",
    env: "STINT_LISTEN",
    description: "where to listen (default: 127.0.0.1:7846)",
    parse: parseText,
  },
  {
    key: "dataDir",
    flags: "--data-dir <dir>",
    env: "STINT_DATA_DIR",
    description: "where the store is (default: ./stint-data)",
    parse: parseText,
  },
  {
    key: "insecure",
    flags: "--insecure",
    env: "STINT_INSECURE",
    description: "allow an address that other machines can reach, without TLS",
  },
  {
    key: "tlsCert",
    flags: "--tls-cert <file>",
    env: "STINT_TLS_CERT",
    description: "TLS with this certificate (PEM), and those that lead to its root",
    parse: parseText,
  },
  {
    key: "tlsKey",
    flags: "--tls-key <file>",
    env: "STINT_TLS_KEY",
    description: "its private key (PEM)",
    parse: parseText,
  },
  {
    key: "corsOrigins",
    flags: "--cors-origins <origins>",
    env: "STINT_CORS_ORIGINS",
    description: "the origins of pages that may call, with commas between them (default: none)",
    parse: (text) => parseText(text).split(","),
  },
  {
    key: "logLevel",
    flags: "--log-level <level>",
    env: "STINT_LOG_LEVEL",
    description: "the least level that is logged (default: info)",
    names: logLevels,
    parse: parseLogLevel,
  },
  {
    key: "retentionHours",
    flags: "--retention-hours <hours>",
    env: "STINT_RETENTION_HOURS",
    description: "how long ended tasks are kept (default: 24)",
    parse: parseHours,
  },
  {
    key: "historyHours",
    flags: "--history-hours <hours>",
    env: "STINT_HISTORY_HOURS",
    description: "how long history is kept, for watches that continue (default: 1)",
    parse: parseHours,
  },
  {
    key: "historyBytes",
    flags: "--history-bytes <bytes>",
    env: "STINT_HISTORY_BYTES",
    description: "how many bytes of it are kept (default: 1 GiB)",
    parse: createCountParser(1, Number.MAX_SAFE_INTEGER),
  },
];

/** The options of serve for the settings, each with the variable that says the same. */
export function settingOptions(): Option[] {
  return settings.map(({ flags, description, env, names, parse }) => {
    const option = new Option(flags, `${description} [${env}]`);
    if (names) option.choices([...names]);
    return parse ? option.argParser(parse) : option;
  });
}

/** What is in force: a flag wins over the environment, which wins over the file. An empty variable counts as none, and so does one that is wrong, which is told. */
export function resolveSettings(
  flags: ServeSettings,
  env: Readonly<Record<string, string | undefined>>,
  file: Config,
): Overridden {
  const config: Record<string, unknown> = { ...file };
  const sources = new Map<string, string>();
  const problems: SourceProblem[] = [];
  for (const setting of settings) {
    const { key } = setting;
    const text = env[setting.env];
    if (flags[key] !== undefined) {
      config[key] = flags[key];
      sources.set(key, setting.flags.split(" ")[0] ?? "");
    } else if (text) {
      const parsed = parseVariable(setting, text);
      if ("problem" in parsed) problems.push({ source: setting.env, path: [key], text: parsed.problem });
      else {
        config[key] = parsed.value;
        sources.set(key, setting.env);
      }
    }
  }
  return { config, sources, problems };
}

function parseVariable({ parse = parseBoolean }: Setting, text: string): { value: unknown } | { problem: string } {
  try {
    return { value: parse(text) };
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    return { problem: `is ${JSON.stringify(text)}. ${error.message}` };
  }
}

function parseText(text: string): string {
  if (text === "") throw new InvalidArgumentError("It must not be empty.");
  return text;
}

function parseBoolean(text: string): boolean {
  if (/^(true|1|yes|on)$/i.test(text)) return true;
  if (/^(false|0|no|off)$/i.test(text)) return false;
  throw new InvalidArgumentError("It must be true or false.");
}

function parseLogLevel(text: string): string {
  if (!logLevels.includes(text)) throw new InvalidArgumentError(`It must be one of ${logLevels.join(", ")}.`);
  return text;
}

function parseHours(text: string): number {
  if (!/^\d{1,9}(\.\d+)?$/.test(text))
    throw new InvalidArgumentError("It must be a number of hours, such as 24 or 0.5.");
  return Number(text);
}
