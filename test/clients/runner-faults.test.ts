/**
 * Runners in several languages share the tasks of one controller, while they or the server are made to fail.
 *
 * REMOTE_TASKS, REMOTE_FAULTS, REMOTE_STALE_WRITES: how many tasks, failures of runners, and writes under old fences there are at least (default 50,
 * 4 and 3); REMOTE_RESTARTS: how often the server is killed (default 3). RUNNERS: those of examples/remote that take part (default: "go python");
 * runners in Node are the others of the three. Needs dist/ (npm run build).
 */
import { beforeAll, test } from "vitest";
import { shareUnderFaults } from "../e2e/remote/faults.ts";
import { restartUnderLoad } from "../e2e/remote/restarts.ts";
import { buildRunner } from "../e2e/remote/world.ts";

const named = (process.env["RUNNERS"] ?? "go python").split(" ").filter((name) => name !== "");
const languages = [...named, "node", "node", "node"].slice(0, 3);
const dose = {
  tasks: Number(process.env["REMOTE_TASKS"] ?? 50),
  faults: Number(process.env["REMOTE_FAULTS"] ?? 4),
  staleWrites: Number(process.env["REMOTE_STALE_WRITES"] ?? 3),
};
const restarts = Number(process.env["REMOTE_RESTARTS"] ?? 3);

beforeAll(async () => {
  for (const language of languages) await buildRunner(language);
}, 300_000);

test("runners that are killed, paused and cut off share tasks: each ends once, nothing stale is taken, none waits long", {
  timeout: 300_000 + dose.faults * 60_000 + dose.staleWrites * 15_000,
}, async () => {
  console.log(`runner faults: ${await shareUnderFaults(dose, languages)}`);
});

test("the server is killed and started again: runners go on, and nothing acknowledged is lost", {
  timeout: 180_000 + restarts * 60_000,
}, async () => {
  console.log(`runner faults: ${await restartUnderLoad({ restarts, tasks: dose.tasks }, languages)}`);
});
