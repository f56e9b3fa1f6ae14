/** Disks that can be full, and have room again, without the rights of root. */
import { spawnSync } from "node:child_process";
import { open, rm, statfs } from "node:fs/promises";
import { join } from "node:path";

export interface FullDisk {
  /** What is missing where it cannot be had; undefined: nothing. */
  readonly missing: string | undefined;
  /** A program and its arguments in front of the server's. `root` is where its store is going to be. */
  under(root: string): string[];
  /** `root` as this process sees it. */
  seen(root: string, pid: number): string;
  /** Leaves next to no room, also where some has come back: some writes to come go well. */
  fill(root: string, pid: number): Promise<void>;
  /** Gives room again. */
  free(root: string, pid: number): Promise<void>;
}

const blockBytes = 1 << 20;
const leftBytes = 256 << 10;
const fileMaxBytes = 64 << 10;

/** A file system in memory that only the server's process has, filled by a file that lies about: ENOSPC. */
export function smallDisk(sizeMb: number): FullDisk {
  const script = `mount -t tmpfs -o size=${sizeMb}m tmpfs "$0" && exec "$@"`;
  const seen = (root: string, pid: number): string => `/proc/${pid}/root${root}`;
  const ballast = (root: string, pid: number): string => join(seen(root, pid), "ballast");
  return {
    missing: hasRun("unshare", "-rm", "sh", "-c", "mount -t tmpfs tmpfs /tmp")
      ? undefined
      : "a mount namespace of its own (unshare -rm)",
    under: (root) => ["unshare", "-rm", "sh", "-c", script, root],
    seen,
    async fill(root, pid) {
      const file = await open(ballast(root, pid), "a");
      try {
        for (;;) {
          const { bavail, bsize } = await statfs(seen(root, pid));
          const bytes = Math.min(blockBytes, bavail * bsize - leftBytes);
          if (bytes <= 0) return;
          await file.write(Buffer.alloc(bytes));
        }
      } finally {
        await file.close();
      }
    },
    free: (root, pid) => rm(ballast(root, pid)),
  };
}

/** No file can grow beyond a size that the logs and tables of the store soon have: EFBIG. */
export const smallFiles: FullDisk = {
  missing: hasRun("prlimit", "--version") ? undefined : "prlimit",
  under: () => [],
  seen: (root) => root,
  fill: (_, pid) => limitFiles(pid, String(fileMaxBytes)),
  free: (_, pid) => limitFiles(pid, "unlimited"),
};

async function limitFiles(pid: number, size: string): Promise<void> {
  // The hard limit stays: a soft one can be raised again.
  const { status, stderr } = spawnSync("prlimit", ["--pid", String(pid), `--fsize=${size}:`]);
  if (status !== 0) throw new Error(`prlimit: ${stderr.toString()}`);
}

function hasRun(program: string, ...args: string[]): boolean {
  return spawnSync(program, args).status === 0;
}
