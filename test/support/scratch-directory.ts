import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A directory of the test's own, gone at the end of its scope. */
export interface ScratchDirectory extends AsyncDisposable {
  readonly path: string;
}

export async function makeScratchDirectory(): Promise<ScratchDirectory> {
  const path = await mkdtemp(join(tmpdir(), "stint-test-"));
  // What was told to stop may be writing its last file.
  const removal = { recursive: true, force: true, maxRetries: 5 };
  return { path, [Symbol.asyncDispose]: () => rm(path, removal) };
}
