import { placeholderPaths } from "../runner/command-template.ts";
import type { RunnerConfig } from "./config.ts";

/** A JSON object whose texts stand for values that are to be put in. */
export interface ExampleMetadata {
  [key: string]: string | ExampleMetadata;
}

/** Metadata with every key that the command of a controller needs, as {"path": "PATH"}; empty where it needs none, and for a module, of which nobody knows. */
export function exampleMetadata({ exec }: RunnerConfig): ExampleMetadata {
  const metadata: ExampleMetadata = {};
  for (const path of placeholderPaths(exec?.command ?? [])) {
    let inner = metadata;
    for (const key of path.slice(0, -1)) {
      const there = Object.hasOwn(inner, key) ? inner[key] : undefined;
      const next = typeof there === "object" ? there : {};
      inner[key] = next;
      inner = next;
    }
    const last = path.at(-1) ?? "";
    if (!Object.hasOwn(inner, last)) inner[last] = last.toUpperCase();
  }
  return metadata;
}
