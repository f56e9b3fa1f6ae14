/**
 * Hashes every regular file under a path: a task with real work, that goes on
 * where it was when the server dies.
 *
 * Metadata: {"path": "...", "algorithm": "sha256"}; the algorithm is one that Node
 * knows, sha256 unless set; other keys are refused. Symbolic links under the path are not followed. The result
 * is {"files", "bytes", "digest"}: the digest, in hex, is over the sorted hex digests of the
 * files, joined by newlines. Progress is in bytes, and each file has a log entry.
 *
 * Resuming. Files are hashed in the order of their paths, and a resumed task goes
 * on after the last whole file. For the result it needs the digests from before, and a task
 * keeps a progress, not a list of digests. So they are kept beside it, in a checkpoint file for the
 * run, in the directory STINT_CHECKSUM_STATE or else in one under the system's temporary directory.
 *
 * 1. Files are settled in small batches: log entries, then the checkpoint, synced, then the
 *    progress. What the progress says is done is in the checkpoint; of a batch that was cut short, a log
 *    entry may come twice.
 * 2. An entry of the checkpoint counts only while the file has the size and time it had. From the
 *    first that does not, and where the checkpoint is gone, files are hashed again: the result
 *    is right in any case, and only time is lost.
 */
import { createHash, getHashes } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { access, type FileHandle, lstat, mkdir, open, readdir, readFile, realpath, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import type { ActiveTask, TaskContext, TaskRunner } from "stint";

interface Settings {
  readonly path: string;
  readonly algorithm: string;
}

interface FoundFile {
  /** Absolute. */
  readonly file: string;
  /** Relative to the path that is hashed. */
  readonly name: string;
  readonly bytes: number;
  readonly changedMs: number;
}

interface HashedFile extends Omit<FoundFile, "file"> {
  readonly digest: string;
}

const batchMaxMs = 100;
const batchMaxFiles = 256;
/** How often the progress moves inside of one large file. */
const progressStepBytes = 16 * 1024 * 1024;

function readSettings(metadata: Record<string, unknown> | undefined): Settings {
  const { path, algorithm = "sha256", ...others } = metadata ?? {};
  const [unknown] = Object.keys(others);
  if (unknown !== undefined)
    throw new Error(`the metadata can have "path" and "algorithm", and no ${JSON.stringify(unknown)}`);
  if (typeof path !== "string" || path === "")
    throw new Error('the metadata must have a "path", a text that is not empty');
  if (typeof algorithm !== "string" || !getHashes().includes(algorithm)) {
    throw new Error('the metadata\'s "algorithm" must be a hash that Node knows, such as "sha256"');
  }
  return { path, algorithm };
}

/** Every regular file under `root`, or `root` itself, ordered by path. */
async function findFiles(root: string, signal: AbortSignal): Promise<FoundFile[]> {
  const found: FoundFile[] = [];
  const waiting = [root];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    signal.throwIfAborted();
    const entry = await orExplain(path, lstat(path));
    if (entry.isDirectory()) {
      for (const name of await orExplain(path, readdir(path))) waiting.push(join(path, name));
    } else if (entry.isFile()) {
      const name = relative(root, path) || path;
      found.push({ file: path, name, bytes: entry.size, changedMs: entry.mtimeMs });
    }
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function hashFile(
  found: FoundFile,
  algorithm: string,
  options: { signal: AbortSignal; onBytes(bytes: number): Promise<void> },
): Promise<HashedFile> {
  const hash = createHash(algorithm);
  let bytes = 0;
  let told = 0;
  const stream = createReadStream(found.file, { highWaterMark: 1024 * 1024 });
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      options.signal.throwIfAborted();
      hash.update(chunk);
      bytes += chunk.byteLength;
      if (bytes - told < progressStepBytes) continue;
      told = bytes;
      await options.onBytes(bytes);
    }
  } catch (error) {
    if (options.signal.aborted) throw error;
    throw explain(found.file, error);
  }
  return { name: found.name, bytes, changedMs: found.changedMs, digest: hash.digest("hex") };
}

async function checksum(
  task: ActiveTask,
  context: TaskContext,
): Promise<{ files: number; bytes: number; digest: string }> {
  const { signal } = context;
  const { path, algorithm } = readSettings(await task.loadTaskMetadata());
  const root = await orExplain(path, realpath(path));
  const files = await findFiles(root, signal);
  const totalBytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const kept = (await task.getProgress())?.current ?? 0n;
  await using checkpoint = await Checkpoint.open(context.runId, { root, algorithm, resumed: kept > 0n, files });

  const done = [...checkpoint.done];
  let doneBytes = done.reduce((sum, file) => sum + file.bytes, 0);
  if (kept > 0n) {
    const from = done.length === 0 ? "from the start" : `after ${done.length} files`;
    await task.addLogEntry("info", `resumes ${from} of ${files.length}`);
  }
  const tell = (current: number, message: string): Promise<void> =>
    task.setProgress({
      current,
      total: Math.max(totalBytes, current),
      unit: "bytes",
      message: message.slice(-1_000).toWellFormed(),
    });

  let batch: HashedFile[] = [];
  let batchStarted = performance.now();
  const settle = async (): Promise<void> => {
    await Promise.all(
      batch.map(({ name, bytes, digest }) => task.addLogEntry("info", `${digest}  ${name} (${bytes} bytes)`)),
    );
    await checkpoint.append(batch);
    await tell(doneBytes, batch.at(-1)?.name ?? "");
    batch = [];
    batchStarted = performance.now();
  };
  await tell(doneBytes, "");
  for (const file of files.slice(done.length)) {
    signal.throwIfAborted();
    const wholeBytes = doneBytes;
    const onBytes = (bytes: number): Promise<void> => tell(wholeBytes + bytes, file.name);
    const hashed = await hashFile(file, algorithm, { signal, onBytes });
    done.push(hashed);
    batch.push(hashed);
    doneBytes += hashed.bytes;
    if (batch.length >= batchMaxFiles || performance.now() - batchStarted >= batchMaxMs) await settle();
  }
  await settle();
  const digests = done.map((file) => file.digest).sort();
  const digest = createHash(algorithm).update(digests.join("\n")).digest("hex");
  return { files: done.length, bytes: doneBytes, digest };
}

/** The digests of a run's whole files: a line of JSON for the run, then one for each file. */
class Checkpoint {
  /** What is there from before, up to the first file that is not as it was. */
  readonly done: readonly HashedFile[];
  readonly #file: FileHandle;

  private constructor(file: FileHandle, done: readonly HashedFile[]) {
    this.#file = file;
    this.done = done;
  }

  static async open(
    runId: string,
    run: { root: string; algorithm: string; resumed: boolean; files: readonly FoundFile[] },
  ): Promise<Checkpoint> {
    const path = await checkpointPath(runId);
    const header = JSON.stringify({ root: run.root, algorithm: run.algorithm });
    const kept = run.resumed ? parseCheckpoint(await readFile(path, "utf8").catch(() => ""), header) : [];
    const changed = kept.findIndex((entry, index) => !isSame(entry, run.files[index]));
    const done = changed < 0 ? kept : kept.slice(0, changed);
    // The old one stays until the new one has all that counts of it.
    const file = await open(`${path}.new`, "w", 0o600);
    const checkpoint = new Checkpoint(file, done);
    await file.write(`${header}\n`);
    await checkpoint.append(done);
    await rename(`${path}.new`, path);
    return checkpoint;
  }

  static async remove(runId: string): Promise<void> {
    await rm(await checkpointPath(runId), { force: true });
  }

  /** Resolves when the entries are on disk. */
  async append(entries: readonly HashedFile[]): Promise<void> {
    if (entries.length === 0) return;
    await this.#file.write(entries.map((entry) => `${JSON.stringify(entry)}\n`).join(""));
    await this.#file.datasync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

/** The entries of a checkpoint, if it is one for such a run; nothing after a line that was cut short. */
function parseCheckpoint(text: string, header: string): HashedFile[] {
  const [first, ...lines] = text.split("\n");
  const entries: HashedFile[] = [];
  if (first !== header) return entries;
  for (const line of lines) {
    try {
      entries.push(JSON.parse(line) as HashedFile);
    } catch {
      break;
    }
  }
  return entries;
}

function isSame(entry: HashedFile, file: FoundFile | undefined): boolean {
  return file?.name === entry.name && file.bytes === entry.bytes && file.changedMs === entry.changedMs;
}

/** In a directory that nobody else can write to: what stands in a checkpoint is believed. */
async function checkpointPath(runId: string): Promise<string> {
  const uid = process.getuid?.();
  const directory = process.env["STINT_CHECKSUM_STATE"] ?? join(tmpdir(), `stint-checksum-${uid ?? "user"}`);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const found = await lstat(directory);
  if (!found.isDirectory() || (uid !== undefined && found.uid !== uid)) {
    throw new Error(`${directory} is not a directory of this user; set STINT_CHECKSUM_STATE to one that is`);
  }
  return join(directory, createHash("sha256").update(runId).digest("hex"));
}

async function orExplain<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw explain(path, error);
  }
}

function explain(path: string, error: unknown): Error {
  const code = (error as NodeJS.ErrnoException).code;
  const why = code === "ENOENT" ? "there is no such file" : code === "EACCES" ? "permission denied" : (code ?? error);
  return new Error(`${path} cannot be read: ${why}`, { cause: error });
}

/** What the server loads. */
export const runner: TaskRunner = {
  // What is wrong with the metadata or the path shows at once, before the task counts as Running.
  async onTaskPending(task) {
    const { path } = readSettings(await task.loadTaskMetadata());
    await orExplain(path, access(path, constants.R_OK));
  },
  onTaskRunning: checksum,
  // The run has ended and is never resumed.
  onTaskCompleted: (_task, _state, context) => Checkpoint.remove(context.runId),
};
