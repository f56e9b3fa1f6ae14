import { Worker } from "node:worker_threads";
import type { SessionSettings } from "./thread-messages.ts";

/** Starts the thread of a session. */
export function openSessionWorker(settings: SessionSettings): Worker {
  const options = { workerData: settings, name: "stint-runner-session" };
  if (!import.meta.url.endsWith(".ts")) {
    return new Worker(new URL("./session-worker.js", import.meta.url), options);
  }
  // From its source, as in tests. A thread has none of the hooks by which this one loads TypeScript.
  const names = [import.meta.resolve("tsx/esm/api"), "./session-worker.ts", import.meta.url];
  const [tsx, file, from] = names.map((name) => JSON.stringify(name));
  return new Worker(`import(${tsx}).then(({ tsImport }) => tsImport(${file}, ${from}))`, { ...options, eval: true });
}
