/** What may happen to task "a" of the histories that watches are cut in. */
import type { Harness } from "../support/controller-harness.ts";

export type Step =
  | "progress"
  | "log"
  | "logs"
  | "fail"
  | "end"
  | "cancel"
  | "launch"
  | "reopen"
  | "crash"
  | "delete"
  | "time";

export const steps: Step[] = [
  "progress",
  "log",
  "logs",
  "fail",
  "end",
  "cancel",
  "launch",
  "launch",
  "reopen",
  "crash",
  "delete",
  "time",
];

/** Does the step, where it can be done now; a runner that is told to stop does. */
export async function take(h: Harness, step: Step): Promise<void> {
  const phase = h.runner.held("a");
  const ignore = (): void => {};
  if (step === "launch") await h.launch("a", { metadata: { text: "m".repeat(1_500) } });
  else if (step === "cancel") await h.controller.cancelTask("a").then(ignore, ignore);
  else if (step === "delete") await h.controller.deleteTask("a").then(ignore, ignore);
  else if (step === "reopen") await h.reopen();
  else if (step === "crash") await h.crash();
  else if (step === "time") await h.clock.advance(150);
  else if (phase === undefined) return;
  else if (step === "progress") await phase.task.setProgress({ current: Number(h.disk.revision()) }).catch(ignore);
  else if (step === "log") await phase.task.addLogEntry("info", "one").catch(ignore);
  else if (step === "logs")
    await Promise.all([1, 2, 3].map((i) => phase.task.addLogEntry("info", "x".repeat(5_000 * i)).catch(ignore)));
  else if (step === "fail") phase.throw(new Error("told to"));
  else if (step === "end") phase.return();
  await h.settle();
  const stopping = h.runner.held("a");
  if (stopping?.signal.aborted) stopping.stop();
  await h.settle();
}
