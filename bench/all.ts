/** All benchmarks one after the other, each in a process of its own, and one table of what they have found. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Row } from "./support/rows.ts";

const names = ["lifecycle", "ceiling", "rpc", "remote", "watch", "loaded", "logs", "scale", "growth"];

/** Resolves to the rows of all; a benchmark that failed has one that says so. */
export async function run(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const name of names) rows.push(...(await runAlone(name)));
  return rows;
}

async function runAlone(name: string): Promise<Row[]> {
  const child = fork(fileURLToPath(new URL("main.ts", import.meta.url)), [name], { execArgv: ["--import", "tsx"] });
  let rows: Row[] = [];
  child.on("message", (message) => {
    rows = message as Row[];
  });
  const [code, signal] = (await once(child, "exit")) as [number | null, string | null];
  return code === 0 ? rows : [{ name, measured: `failed: ${signal ?? code}`, target: "", met: false }];
}
