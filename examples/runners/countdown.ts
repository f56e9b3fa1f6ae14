/**
 * Counts up to a limit, one step an interval: a task that takes as long as one
 * likes, to see how tasks are shown, canceled and resumed.
 *
 * Metadata, each with a default: {"limit": 10, "intervalMs": 200, "failAt": 0}.
 * Above 0, failAt is the step at which it fails. Other keys are refused, so that a misspelt one does not go unnoticed.
 * The result is {"counted": limit}.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { ActiveTask, TaskContext, TaskRunner } from "stint";

const settings = {
  limit: { default: 10, min: 0, max: 1_000_000_000 },
  intervalMs: { default: 200, min: 0, max: 86_400_000 },
  failAt: { default: 0, min: 0, max: 1_000_000_000 },
} as const;

type Settings = Record<keyof typeof settings, number>;

function readSettings(metadata: Record<string, unknown>): Settings {
  const known = Object.keys(settings);
  const problems = Object.keys(metadata)
    .filter((key) => !known.includes(key))
    .map((key) => `there is no ${JSON.stringify(key)}, only ${known.join(", ")}`);
  const read = {} as Settings;
  for (const [name, { default: byDefault, min, max }] of Object.entries(settings)) {
    const value = metadata[name] ?? byDefault;
    if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) {
      read[name as keyof Settings] = value;
    } else problems.push(`${name} must be a whole number from ${min} to ${max}`);
  }
  if (problems.length > 0) throw new Error(`the metadata is not right: ${problems.join("; ")}`);
  return read;
}

async function count(task: ActiveTask, { signal }: TaskContext): Promise<{ counted: number }> {
  const { limit, intervalMs, failAt } = readSettings((await task.loadTaskMetadata()) ?? {});
  // After a resume the steps that were made are kept, and not made again.
  const kept = Number((await task.getProgress())?.current ?? 0n);
  for (let step = kept + 1; step <= limit; step += 1) {
    await sleep(intervalMs, undefined, { signal });
    if (step === failAt) throw new Error(`failed at step ${step}, as failAt asks`);
    // Said together they are one commit: a crash leaves both or neither, and no step is logged twice.
    await Promise.all([
      task.addLogEntry("info", `step ${step} of ${limit}`),
      task.setProgress({ current: step, total: limit, unit: "steps" }),
    ]);
  }
  return { counted: limit };
}

/** What the server loads. */
export const runner: TaskRunner = {
  // What is wrong with the metadata shows at once, before the task counts as Running.
  async onTaskPending(task) {
    readSettings((await task.loadTaskMetadata()) ?? {});
  },
  onTaskRunning: count,
};
