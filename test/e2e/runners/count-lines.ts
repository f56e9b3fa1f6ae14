/**
 * The runner of examples/remote in TypeScript, by stint/runner, for tests that kill it: TARGET CONTROLLER LEDGER. It counts the lines of files, for
 * tasks with the metadata {"files": "/somewhere/*.txt", "pauseMs": 0}. The ledger has a line for each file whose entry and progress were
 * acknowledged, written right after that, and for each time that a handler was told to stop.
 */
import { appendFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { basename, dirname, extname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type AbortReason, runRemote } from "../../../src/runner-client/run-remote.ts";

/** What the ledger has, a line of JSON each. */
export type LedgerFact =
  /** As many files are counted, said under this fence. */
  | { readonly task: string; readonly attempt: number; readonly fence: number; readonly files: number }
  /** When it was told to stop, in milliseconds since 1970, with fractions, and why. */
  | { readonly task: string; readonly toldAtMs: number; readonly kind: string };

const [, program = "", target = "", controller = "", ledger = ""] = process.argv;

function note(fact: LedgerFact): void {
  appendFileSync(ledger, `${JSON.stringify(fact)}\n`);
}

/** The files of a pattern whose only wildcard is the name: Node 20 has no glob. */
async function find(pattern: string): Promise<string[]> {
  const names = (await readdir(dirname(pattern))).filter((name) => extname(name) === extname(basename(pattern)));
  return names.sort().map((name) => join(dirname(pattern), name));
}

if (import.meta.url === new URL(`file://${program}`).href) {
  const { closed } = runRemote({
    target,
    controller,
    capacity: 8,
    runner: {
      async onTaskRunning(task, { attempt, fence, signal }) {
        signal.addEventListener("abort", () => {
          const { kind } = signal.reason as AbortReason;
          note({ task: task.taskId, toldAtMs: performance.timeOrigin + performance.now(), kind });
        });
        const metadata = (await task.loadTaskMetadata()) as { files: string; pauseMs: number };
        const paths = await find(metadata.files);
        const kept = await task.getProgress();
        let files = Number(kept?.current ?? 0n);
        let lines = Number.parseInt(kept?.message || "0", 10);
        for (const path of paths.slice(files)) {
          const here = (await readFile(path, "utf8")).split("\n").length - 1;
          files += 1;
          lines += here;
          // Said together they are one write: on disk both, or none.
          await Promise.all([
            task.addLogEntry("info", `${JSON.stringify(path)} has ${here} lines`),
            task.setProgress({ current: files, total: paths.length, unit: "files", message: `${lines} lines` }),
          ]);
          note({ task: task.taskId, attempt, fence: Number(fence), files });
          await sleep(metadata.pauseMs, undefined, { signal });
        }
        return { files, lines };
      },
    },
  });
  await closed;
}
