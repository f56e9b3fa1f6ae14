/** The redis-server of the system, for peers that keep their tasks in one. */
import { spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";
import { freePort } from "./free-port.ts";
import { type BenchProcess, processOf } from "./processes.ts";

/** When what was written is on disk: within a second, or before each answer. */
export type Appendfsync = "everysec" | "always";

export interface RedisProcess extends BenchProcess {
  /** On 127.0.0.1. */
  readonly port: number;
}

/** Why there is none; undefined where there is. */
export function missingRedis(): string | undefined {
  const isThere = spawnSync("redis-server", ["--version"]).status === 0;
  return isThere ? undefined : "no redis-server on the PATH (the system's package redis-server)";
}

/** Starts one with its append-only file in `directory`; what it holds is gone with that. */
export async function startRedis(directory: string, appendfsync: Appendfsync): Promise<RedisProcess> {
  const port = await freePort();
  const where = ["--port", String(port), "--bind", "127.0.0.1", "--dir", directory];
  const kept = ["--save", "", "--appendonly", "yes", "--appendfsync", appendfsync];
  const redis = spawn("redis-server", [...where, ...kept], { stdio: ["ignore", "pipe", "inherit"] });
  const own = processOf(redis, () => redis.kill());
  await new Promise<void>((resolve, reject) => {
    redis.once("error", reject);
    redis.once("exit", (code) => reject(new Error(`redis-server has ended with ${code}`)));
    createInterface(redis.stdout).on("line", (line) => {
      if (line.includes("Ready to accept connections")) resolve();
    });
  });
  return { ...own, port };
}
