import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import {
  type Document,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from "yaml";
import type { z } from "zod";
import { type Config, type ConfigPath, configSchema, findConflicts, type RunnerConfig, soundParts } from "./config.ts";
import { ServerError } from "./error.ts";
import { describeIssue } from "./plain-issue.ts";

/** One thing that is wrong with a file. */
export interface FileProblem {
  /** From 1 on. */
  readonly line: number;
  readonly path: ConfigPath;
  /** Begins with the key, where it is about one. */
  readonly text: string;
}

/** What a file says, and what is wrong with that. */
export interface ReadConfig {
  /** Without what is wrong. */
  readonly config: Config;
  /** Where in the file's list each of those controllers is. */
  readonly places: readonly number[];
  /** In the order of their lines. */
  readonly problems: readonly FileProblem[];
  /** The line of a key; where the key is not there, that of what should have it. */
  readonly lineOf: (path: ConfigPath) => number;
}

/**
 * Reads a configuration file. Paths in it are relative to it, and come back
 * absolute. Throws ServerError CONFIG that names, for everything that is wrong, the
 * file, the line and the key.
 */
export async function loadConfig(file: string): Promise<Config> {
  return accepted(await readConfigFile(file), file);
}

/** The same for the text of a file; paths stay as they are. */
export function parseConfig(text: string, file: string): Config {
  return accepted(readConfig(text), file);
}

/** Reads a file as loadConfig does, and tells what is wrong with it. Throws ServerError CONFIG only for a file that cannot be read. */
export async function readConfigFile(file: string): Promise<ReadConfig> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new ServerError("CONFIG", `the configuration ${file} cannot be read: ${reason}`, error);
  }
  const read = readConfig(text);
  return { ...read, config: resolvePaths(read.config, dirname(resolve(file))) };
}

function readConfig(text: string): ReadConfig {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const line = (offset: number | undefined): number => lines.linePos(offset ?? 0).line;
  const lineOf = (path: ConfigPath): number => line(offsetOf(document, path));
  const syntax = [...document.errors, ...document.warnings].map(({ code, message, pos }) => {
    const isTwice = code === "DUPLICATE_KEY";
    const path = isTwice ? pathOfKeyAt(document, pos[0]) : [];
    const complaint = isTwice ? `${formatPath(path)}: this key is there already` : message;
    return { line: line(pos[0]), path, text: complaint, isTwice };
  });
  const unreadable = (problems: readonly FileProblem[]): ReadConfig => ({ config: {}, places: [], problems, lineOf });
  // What stands behind a mistake of syntax may be anything; a key that is there twice harms nothing else.
  if (syntax.some(({ isTwice }) => !isTwice)) return unreadable(syntax);
  let value: unknown;
  try {
    // Aliases may blow up (a few hundred bytes that stand for gigabytes) or lead nowhere.
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    return unreadable([{ line: 1, path: [], text: error instanceof Error ? error.message : String(error) }]);
  }
  const file = value ?? {};
  const issues = configSchema.safeParse(file, { error: describeIssue }).error?.issues ?? [];
  const problems = [
    ...syntax,
    ...issues.flatMap((issue) => problemsOf(issue, lineOf)),
    ...findConflicts(file).map(({ path, message }) => problemAt(path, message, lineOf)),
  ].sort((a, b) => a.line - b.line);
  return { ...soundParts(file), problems, lineOf };
}

const pathKeys = ["dataDir", "tlsCert", "tlsKey"] as const;

function resolvePaths(config: Config, directory: string): Config {
  const { controllers } = config;
  const paths: Pick<Config, (typeof pathKeys)[number]> = {};
  for (const key of pathKeys) if (config[key] !== undefined) paths[key] = resolve(directory, config[key]);
  return {
    ...config,
    ...paths,
    ...(controllers === undefined
      ? {}
      : {
          controllers: controllers.map((controller) => ({
            ...controller,
            runner: resolveRunnerPaths(controller.runner, directory),
          })),
        }),
  };
}

function resolveRunnerPaths(runner: RunnerConfig, directory: string): RunnerConfig {
  const { module, exec } = runner;
  if (module !== undefined) return { module: resolve(directory, module) };
  if (exec === undefined) return runner;
  const [program, ...args] = exec.command;
  // A program without a / is looked up in PATH.
  const file = program.includes("/") ? resolve(directory, program) : program;
  const cwd = exec.cwd === undefined ? {} : { cwd: resolve(directory, exec.cwd) };
  return { exec: { ...exec, ...cwd, command: [file, ...args] } };
}

function problemAt(path: ConfigPath, message: string, lineOf: ReadConfig["lineOf"]): FileProblem {
  return { line: lineOf(path), path, text: `${formatPath(path)}: ${message}` };
}

function problemsOf(issue: z.core.$ZodIssue, lineOf: ReadConfig["lineOf"]): FileProblem[] {
  if (issue.code !== "unrecognized_keys") {
    // What is wrong with a key of a map lies one deeper.
    const { message } = issue.code === "invalid_key" ? (issue.issues[0] ?? issue) : issue;
    return [problemAt(issue.path, message, lineOf)];
  }
  return issue.keys.map((key) => problemAt([...issue.path, key], "there is no such key", lineOf));
}

/** Where in the text the key at `path` is; where there is none, where what should have it is. */
function offsetOf(document: Document, path: ConfigPath): number | undefined {
  for (let length = path.length; length > 0; length -= 1) {
    const parent = length === 1 ? document.contents : document.getIn(path.slice(0, length - 1), true);
    const key = path[length - 1];
    if (isMap(parent)) {
      const pair = parent.items.find((item) => isScalar(item.key) && item.key.value === key);
      if (pair !== undefined && isNode(pair.key)) return startOf(pair.key);
    }
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node)) return startOf(node);
  }
  return isNode(document.contents) ? startOf(document.contents) : undefined;
}

/** The keys and places that lead to the key at a place of the text. */
function pathOfKeyAt(document: Document, offset: number): ConfigPath {
  const path: PropertyKey[] = [];
  visit(document, {
    Pair(_, pair, ancestors) {
      if (!isNode(pair.key) || startOf(pair.key) !== offset) return undefined;
      for (const [index, node] of [...ancestors, pair].entries()) {
        const parent = ancestors[index - 1];
        if (isPair(node)) path.push(isScalar(node.key) ? String(node.key.value) : String(node.key));
        else if (isSeq(parent)) path.push(parent.items.indexOf(node));
      }
      return visit.BREAK;
    },
  });
  return path;
}

function startOf(node: Node): number | undefined {
  return node.range?.[0];
}

/** "controllers[0].name" */
export function formatPath(path: ConfigPath): string {
  if (path.length === 0) return "the file";
  return path
    .map((key, index) => (typeof key === "number" ? `[${key}]` : `${index === 0 ? "" : "."}${String(key)}`))
    .join("");
}

function accepted({ config, problems }: ReadConfig, file: string): Config {
  if (problems.length === 0) return config;
  const shown = problems.slice(0, 20).map(({ line, text }) => `${file}:${line}: ${text}`);
  throw new ServerError("CONFIG", shown.join("\n"));
}
