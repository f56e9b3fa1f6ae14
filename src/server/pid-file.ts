/** The file in the data directory that has the id of the server's process, for whoever wants to signal it. */
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Log } from "../log.ts";

/**
 * Writes `server.pid`; the returned function removes it. Whoever calls it holds the store, so that no other server has one
 * there. A server that was killed leaves its own behind until the next start. A file that cannot be written keeps no server from its work.
 */
export async function writePidFile(directory: string, pid: number, log: Log): Promise<() => Promise<void>> {
  const file = join(directory, "server.pid");
  const orWarn = (work: Promise<void>): Promise<void> =>
    work.catch((error: unknown) => log.warn({ file, err: error }, "the file with the process id cannot be kept"));
  await orWarn(writeFile(file, `${pid}\n`));
  return () => orWarn(rm(file, { force: true }));
}
