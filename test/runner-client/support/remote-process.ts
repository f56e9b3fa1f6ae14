/** A runner in a process of its own. Its tasks' metadata: {"spinMs": how long to block the thread, "workMs": how long to wait}. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { runRemote } from "../../../src/runner-client/run-remote.ts";

export interface RemoteProcess extends AsyncDisposable {
  kill(signal: NodeJS.Signals): void;
  /** Its exit code, or the signal that ended it. */
  readonly exited: Promise<number | string>;
}

/** Starts one that connects to the server at `target`, and drains for `drainMs`. */
export function startRemoteProcess(target: string, drainMs = 20_000): RemoteProcess {
  const args = ["--import", import.meta.resolve("tsx"), fileURLToPath(import.meta.url), target, String(drainMs)];
  const child: ChildProcess = spawn(process.execPath, args, { stdio: "inherit" });
  const exited = once(child, "exit").then(([code, signal]) => (code ?? signal) as number | string);
  return {
    kill: (signal) => void child.kill(signal),
    exited,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

async function main(target: string, drainMs: number): Promise<void> {
  const { closed } = runRemote({
    target,
    controller: "steps",
    capacity: 4,
    drainMs,
    runner: {
      async onTaskRunning(task, { signal }) {
        const { spinMs = 0, workMs = 0 } = (await task.loadTaskMetadata()) as { spinMs?: number; workMs?: number };
        await task.addLogEntry("info", "begun");
        const since = performance.now();
        while (performance.now() - since < spinMs);
        await sleep(workMs, undefined, { signal });
        return Math.round(performance.now() - since);
      },
    },
  });
  await closed;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv[2] ?? "", Number(process.argv[3]));
