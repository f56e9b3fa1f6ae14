import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A directory that is gone at the end of its scope, or of the process, as where a signal ends it. */
export async function makeDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "stint-bench-"));
  const remove = (): void => rmSync(path, { recursive: true, force: true, maxRetries: 3 });
  process.once("exit", remove);
  return {
    path,
    async [Symbol.asyncDispose]() {
      process.off("exit", remove);
      await rm(path, { recursive: true, force: true });
    },
  };
}
