/** Temporal's development server, with its store in memory, and a worker and a load for it in processes of their own. */
import { spawn, spawnSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "./free-port.ts";
import { processOf, startProcess } from "./processes.ts";

const packages = ["@temporalio/client", "@temporalio/worker", "@temporalio/workflow"];
const taskQueue = "bench";
const startMaxMs = 60_000;

/** Why it cannot be measured; undefined where it can. */
export async function missingTemporal(): Promise<string | undefined> {
  if (spawnSync("temporal", ["--version"]).status !== 0)
    return "it is not on the PATH (go install github.com/temporalio/cli/cmd/temporal@v1.5.1)";
  try {
    for (const name of packages) await import(name);
    return undefined;
  } catch {
    return `its packages are not installed (npm install --no-save ${packages.join(" ")})`;
  }
}

/** Workflows a second of one activity that does nothing, from start to result, on a server of its own: for so many seconds, after as many that do not count. */
export async function measureTemporal(dose: { inFlight: number; seconds: number }): Promise<number> {
  const port = await freePort();
  const flags = ["--headless", "--ip", "127.0.0.1", "--port", String(port), "--log-level", "never"];
  const server = spawn("temporal", ["server", "start-dev", ...flags], { stdio: "ignore" });
  await using _ = processOf(server, () => server.kill());
  await using worker = startProcess("temporal-worker");
  await using load = startProcess("temporal-load");
  const address = `127.0.0.1:${port}`;
  const until = performance.now() + startMaxMs;
  while (await load.ask("connect", { address }).then(() => false, failed)) await sleep(200);
  await worker.ask("connect", { address, taskQueue });
  await load.ask("closed", { ...dose, taskQueue });
  return (await load.ask<{ perSecond: number }>("closed", { ...dose, taskQueue })).perSecond;

  /** It is asked again for as long as the server may still start. */
  function failed(error: unknown): true {
    if (performance.now() > until || server.exitCode !== null) throw error;
    return true;
  }
}
