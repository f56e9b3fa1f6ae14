/** The server is killed with SIGKILL and started again, again and again, under remote runners that work on. */
import { expect } from "vitest";
import { eventually } from "../../support/eventually.ts";
import { checkTasks } from "./check-tasks.ts";
import { TasksWatch } from "./tasks-watch.ts";
import { controller, openRemoteWorld } from "./world.ts";

const filesCount = 40;
const pauseMs = 100;
const activeTasks = 16;
const maxMs = 60_000;

/** How often it is killed, and how many tasks there are at least. */
export interface RestartDose {
  readonly restarts: number;
  readonly tasks: number;
}

/** Kills it under a runner in each of the languages; resolves to the line of figures. Throws for whatever was lost, doubled or missing. */
export async function restartUnderLoad(dose: RestartDose, languages: readonly string[]): Promise<string> {
  const startedMs = performance.now();
  await using world = await openRemoteWorld(filesCount);
  await using watch = new TasksWatch(world.server, controller);
  const runners = languages.map((language) => world.start(language));
  const tasks: string[] = [];
  const topUp = async (): Promise<void> => {
    while (tasks.filter((taskId) => !watch.hasEnded(taskId)).length < activeTasks) {
      tasks.push(`t${tasks.length + 1}`);
      await world.launch(pauseMs, ...tasks.slice(-1));
    }
  };
  /** All runners have brought a task on since the server was started last, and so many tasks were launched. */
  const work = async (launched: number): Promise<void> => {
    watch.workers.clear();
    await eventually(async () => {
      await topUp();
      expect(watch.workers.size).toBe(languages.length);
      expect(tasks.length).toBeGreaterThanOrEqual(launched);
    }, maxMs);
  };
  const { restarts } = dose;
  for (let n = 1; n <= restarts; n += 1) {
    await work((n / restarts) * dose.tasks);
    await world.server.kill();
    // Nothing more is acknowledged until it is started.
    const ledger = await world.ledger();
    await world.server.start();
    for (const taskId of watch.active()) {
      const told = ledger.flatMap((fact) => ("files" in fact && fact.task === taskId ? [fact.files] : []));
      const { progress } = await world.status(taskId);
      expect(Number(progress?.current ?? 0n), `the progress of ${taskId}`).toBeGreaterThanOrEqual(Math.max(0, ...told));
    }
  }
  await work(dose.tasks);
  const { entries, inLedger } = await checkTasks(world, watch, tasks);
  for (const { exitCode, signalCode } of runners) expect([exitCode, signalCode]).toEqual([null, null]);
  expect(watch.resumes).toBeGreaterThanOrEqual(restarts);
  expect(inLedger).toBeGreaterThan(10 * restarts);
  const seconds = Math.round((performance.now() - startedMs) / 1_000);
  const what = `${entries} entries with progress, ${inLedger} of them in the ledger of Node's runner`;
  return `${restarts} restarts under ${languages.join(", ")}: ${tasks.length} tasks, ${what}, 0 lost, 0 doubled, ${watch.moves} offered again, ${seconds} s`;
}
