/**
 * A runner in a process of its own, for remote-restarts.test.ts and remote-cancel.test.ts: TARGET CONTROLLER LEDGER. A task's metadata is {"steps", "pauseMs"}; each step is a
 * log entry, "step N", and a progress. The ledger has a line for each entry that was acknowledged, and for each time that a handler was told to stop.
 */
import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { type AbortReason, runRemote } from "../../../src/runner-client/run-remote.ts";

/** What the ledger has, a line of JSON each. */
export type RemoteFact =
  | { readonly task: string; readonly entry: string }
  /** When it was told to stop, and why, in milliseconds since 1970, with fractions. */
  | { readonly task: string; readonly canceledAtMs: number; readonly kind: string };

const [, program = "", target = "", controller = "", ledger = ""] = process.argv;

function note(fact: RemoteFact): void {
  appendFileSync(ledger, `${JSON.stringify(fact)}\n`);
}

if (import.meta.url === new URL(`file://${program}`).href) {
  const { closed } = runRemote({
    target,
    controller,
    capacity: 20,
    runner: {
      async onTaskRunning(task, { signal }) {
        const { steps, pauseMs } = (await task.loadTaskMetadata()) as { steps: number; pauseMs: number };
        signal.addEventListener("abort", () => {
          const { kind } = signal.reason as AbortReason;
          note({ task: task.taskId, canceledAtMs: performance.timeOrigin + performance.now(), kind });
        });
        const kept = Number((await task.getProgress())?.current ?? 0n);
        for (let step = kept + 1; step <= steps; step += 1) {
          const entry = `step ${step}`;
          await task.addLogEntry("info", entry);
          note({ task: task.taskId, entry });
          await task.setProgress({ current: step, total: steps });
          await sleep(pauseMs, undefined, { signal });
        }
      },
    },
  });
  await closed;
}
