import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { type Document, isMap, isNode, isScalar, LineCounter, type Node, parseDocument } from "yaml";
import type { z } from "zod";
import { type Config, configSchema, type RunnerConfig } from "./config.ts";
import { ServerError } from "./error.ts";

type Path = ReadonlyArray<PropertyKey>;

/** One thing that is wrong with a file. */
interface Problem {
  readonly line: number;
  readonly text: string;
}

/**
 * Reads a configuration file. Paths in it are relative to it, and come back
 * absolute. Throws ServerError CONFIG that names, for everything that is wrong, the
 * file, the line and the key.
 */
export async function loadConfig(file: string): Promise<Config> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new ServerError("CONFIG", `the configuration ${file} cannot be read: ${reason}`, error);
  }
  return resolvePaths(parseConfig(text, file), dirname(resolve(file)));
}

/** The same for the text of a file; paths stay as they are. */
export function parseConfig(text: string, file: string): Config {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const line = (offset: number | undefined): number => lines.linePos(offset ?? 0).line;
  const syntax = [...document.errors, ...document.warnings];
  if (syntax.length > 0) {
    fail(
      file,
      syntax.map((error) => ({ line: line(error.pos[0]), text: error.message })),
    );
  }
  const parsed = configSchema.safeParse(valueOf(document, file) ?? {});
  if (!parsed.success) {
    fail(
      file,
      parsed.error.issues.flatMap((issue) => problemsOf(issue, document, line)),
    );
  }
  const twice = parsed.data.controllers?.findIndex(
    ({ name }, index, all) => all.findIndex((c) => c.name === name) < index,
  );
  if (twice !== undefined && twice >= 0) {
    const path = ["controllers", twice, "name"];
    fail(file, [
      { line: line(offsetOf(document, path)), text: `${formatPath(path)}: another controller has this name` },
    ]);
  }
  return parsed.data;
}

/** The document as plain values. Aliases may blow up (a few hundred bytes that stand for gigabytes) or lead nowhere. */
function valueOf(document: Document, file: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    fail(file, [{ line: 1, text: error instanceof Error ? error.message : String(error) }]);
  }
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

function resolveRunnerPaths({ module, exec }: RunnerConfig, directory: string): RunnerConfig {
  if (exec === undefined) return module === undefined ? {} : { module: resolve(directory, module) };
  const [program, ...args] = exec.command;
  // A program without a / is looked up in PATH.
  const file = program.includes("/") ? resolve(directory, program) : program;
  const cwd = exec.cwd === undefined ? {} : { cwd: resolve(directory, exec.cwd) };
  return { exec: { ...exec, ...cwd, command: [file, ...args] } };
}

function problemsOf(issue: z.core.$ZodIssue, document: Document, line: (offset?: number) => number): Problem[] {
  if (issue.code !== "unrecognized_keys") {
    // What is wrong with a key of a map lies one deeper.
    const { message } = issue.code === "invalid_key" ? (issue.issues[0] ?? issue) : issue;
    return [{ line: line(offsetOf(document, issue.path)), text: `${formatPath(issue.path)}: ${message}` }];
  }
  return issue.keys.map((key) => {
    const path = [...issue.path, key];
    return { line: line(offsetOf(document, path)), text: `${formatPath(path)}: there is no such key` };
  });
}

/** Where in the text the key at `path` is; where there is none, where what should have it is. */
function offsetOf(document: Document, path: Path): number | undefined {
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

function startOf(node: Node): number | undefined {
  return node.range?.[0];
}

function formatPath(path: Path): string {
  if (path.length === 0) return "the file";
  return path
    .map((key, index) => (typeof key === "number" ? `[${key}]` : `${index === 0 ? "" : "."}${String(key)}`))
    .join("");
}

function fail(file: string, problems: readonly Problem[]): never {
  const shown = problems.slice(0, 20).map(({ line, text }) => `${file}:${line}: ${text}`);
  throw new ServerError("CONFIG", shown.join("\n"));
}
