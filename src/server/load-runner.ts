import { stat } from "node:fs/promises";
import { extname } from "node:path";
import { pathToFileURL } from "node:url";
import type { TaskRunner } from "../controller/task-runner.ts";
import { ServerError } from "./error.ts";

const typeScript: readonly string[] = [".ts", ".mts", ".cts"];
const javaScript: readonly string[] = [".js", ".mjs", ".cjs"];

/**
 * The TaskRunner that a module exports as its default, or under the name
 * "runner". `file` is a path to TypeScript, which needs no build, or to JavaScript.
 * Throws ServerError RUNNER.
 */
export async function loadRunner(file: string): Promise<TaskRunner> {
  const exported = await importModule(file);
  for (const candidate of [exported["default"], exported["runner"], nestedDefault(exported["default"])]) {
    if (isTaskRunner(candidate)) return candidate;
  }
  throw new ServerError(
    "RUNNER",
    `${file} has no runner: it must export, as its default or as "runner", an object with a function onTaskRunning`,
  );
}

async function importModule(file: string): Promise<Record<string, unknown>> {
  const extension = extname(file);
  if (!typeScript.includes(extension) && !javaScript.includes(extension)) {
    throw new ServerError("RUNNER", `${file} is neither TypeScript nor JavaScript`);
  }
  const found = await stat(file).catch(() => undefined);
  if (found?.isFile() !== true) throw new ServerError("RUNNER", `there is no runner module ${file}`);
  const url = pathToFileURL(file).href;
  try {
    if (javaScript.includes(extension)) return (await import(url)) as Record<string, unknown>;
    const { tsImport } = await import("tsx/esm/api");
    return (await tsImport(url, import.meta.url)) as Record<string, unknown>;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ServerError("RUNNER", `the runner module ${file} cannot be loaded: ${reason}`, error);
  }
}

/** A module of CommonJS shows its exports as the default of the default. */
function nestedDefault(exported: unknown): unknown {
  return typeof exported === "object" && exported !== null && "default" in exported ? exported.default : undefined;
}

function isTaskRunner(value: unknown): value is TaskRunner {
  return (
    typeof value === "object" && value !== null && "onTaskRunning" in value && typeof value.onTaskRunning === "function"
  );
}
