/**
 * Nothing of the answer to a launch leaves the server before the write of its commit is on disk: told by the system calls of its process,
 * which strace writes down. Where there is no strace, or it may not trace, nothing is tested, and that is said.
 *
 * SYNC_LAUNCHES: how many (default 60). Needs dist/ (npm run build).
 */
import { spawnSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { forEachConcurrently } from "../../src/async/for-each-concurrently.ts";
import { frameType } from "../support/raw-frames.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { repositoryRoot, ServedProcess } from "../support/served-process.ts";
import { isWhole, parseSystemCalls, straceArgs, type SystemCall } from "../support/system-calls.ts";

const launches = Number(process.env["SYNC_LAUNCHES"] ?? 60);
const controller = "countdown";
const writes = ["write", "writev", "pwrite64", "sendto", "sendmsg"];
const syncs = ["fsync", "fdatasync"];
const frameHeadBytes = 9;

const canTrace = spawnSync("strace", ["-D", "-o", "/dev/null", "true"]).status === 0;
if (!canTrace) process.stderr.write("sync before reply: skipped, as strace is missing or may not trace\n");

test.skipIf(!canTrace)(
  `no answer to ${launches} launches leaves before its commit is synced`,
  {
    timeout: 60_000 + launches * 1_000,
  },
  async () => {
    await using scratch = await makeScratchDirectory();
    const config = join(scratch.path, "stint.yaml");
    const runner = { module: join(repositoryRoot, "examples/runners/countdown.ts") };
    // JSON is YAML.
    await writeFile(config, JSON.stringify({ controllers: [{ name: controller, runner }] }));
    const trace = join(scratch.path, "trace");
    const under = straceArgs(trace, [...writes, ...syncs]);
    await using service = await ServedProcess.create({ directory: join(scratch.path, "data"), config, under });
    await service.start();
    const ids = Array.from({ length: launches }, (_, i) => `traced-${i}.`);
    // Alone and in groups.
    const alone = ids.slice(0, launches / 3);
    const payload = { case: "jsonMetadata" as const, value: '{"limit":2,"intervalMs":1}' };
    for (const taskId of alone) await service.client.launchTask({ controller, taskId, payload });
    await forEachConcurrently(ids.slice(alone.length), 16, async (taskId) => {
      await service.client.launchTask({ controller, taskId, payload });
    });
    expect(await service.stop()).toBe(0);
    let text = await readFile(trace, "latin1");
    for (let i = 0; i < 500 && !isWhole(text); i += 1) {
      await sleep(20);
      text = await readFile(trace, "latin1");
    }

    const calls = parseSystemCalls(text);
    const answers = answersIn(calls);
    const early: string[] = [];
    for (const id of ids) {
      const syncedAt = syncOf(calls, id)?.returned ?? Infinity;
      const answer = answers.find(({ content }) => content.includes(id));
      expect(answer, `the answer to ${id}`).toBeDefined();
      if (answer !== undefined && answer.begun <= syncedAt)
        early.push(`${id} was answered at line ${answer.begun}, and synced at ${syncedAt}`);
    }
    const synced = calls.filter(({ name, on }) => syncs.includes(name) && on.endsWith(".log")).length;
    process.stderr.write(
      `sync before reply: ${ids.length} launches, ${calls.length} calls, ${synced} syncs of a log\n`,
    );
    expect(early).toEqual([]);
  },
);

/** The sync of the log that the id was first written to which was begun after that, and went well. */
function syncOf(calls: readonly SystemCall[], id: string): SystemCall | undefined {
  const written = calls.find(
    ({ name, on, bytes }) => writes.includes(name) && on.endsWith(".log") && bytes.includes(id),
  );
  if (written === undefined) return undefined;
  return calls.find(
    ({ name, on, begun, result }) =>
      syncs.includes(name) && on === written.on && begun > written.returned && result === 0,
  );
}

interface Answer {
  /** The line at which the first of it was written. */
  readonly begun: number;
  content: Buffer;
}

/** What was written to each stream of each connection. */
function answersIn(calls: readonly SystemCall[]): Answer[] {
  const answers = new Map<string, Answer>();
  const unfinished = new Map<string, Answer>();
  for (const { name, on, bytes, begun } of calls) {
    if (!on.startsWith("TCP") || !writes.includes(name)) continue;
    // The first frame may have begun in the call before.
    let next = unfinished.get(on) ?? { begun, content: Buffer.alloc(0) };
    next = { ...next, content: Buffer.concat([next.content, bytes]) };
    for (let end = endOfFrame(next.content); end <= next.content.length; end = endOfFrame(next.content)) {
      const type = next.content.readUInt8(3);
      const stream = `${on} ${next.content.readUInt32BE(5)}`;
      if (type === frameType.headers || type === frameType.data) {
        const answer = answers.get(stream) ?? { begun: next.begun, content: Buffer.alloc(0) };
        answer.content = Buffer.concat([answer.content, next.content.subarray(frameHeadBytes, end)]);
        answers.set(stream, answer);
      }
      next = { begun, content: next.content.subarray(end) };
    }
    if (next.content.length > 0) unfinished.set(on, next);
    else unfinished.delete(on);
  }
  return [...answers.values()];
}

/** Where the first frame ends; Infinity while its head is not there. */
function endOfFrame(bytes: Buffer): number {
  return bytes.length < frameHeadBytes ? Infinity : frameHeadBytes + bytes.readUIntBE(0, 3);
}
