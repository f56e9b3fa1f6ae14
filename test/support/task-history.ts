/** What lies in a store of a task: all its versions, and what a watch of it must therefore show. */
import type { LogEntry } from "#gen/core/v1/core_pb.js";
import { decodeLogChunk, decodeTask, type StoredTask } from "../../src/store/codec.ts";
import { logPrefix, taskKey } from "../../src/store/keys.ts";
import type { Store } from "../../src/store/store.ts";
import { isEnded, stateName } from "../../src/task/state.ts";

export interface Version extends StoredTask {
  readonly revision: bigint;
}

/** Every version of the task, oldest first; undefined is a deletion. */
export async function readVersions(
  store: Store,
  controller: string,
  taskId: string,
): Promise<Array<{ revision: bigint; version: Version | undefined }>> {
  const versions: Array<{ revision: bigint; version: Version | undefined }> = [];
  const key = taskKey(controller, taskId);
  const last = await store.commit([{ type: "put", key: taskKey("marker", "marker"), value: new Uint8Array(0) }]);
  for await (const events of store.watch({ prefix: "/tasks/", after: 0n })) {
    for (const event of events) {
      if (event.key !== key) continue;
      const { revision } = event;
      versions.push({
        revision,
        version: event.type === "delete" ? undefined : { ...decodeTask(event.value), revision },
      });
    }
    if ((events.at(-1)?.revision ?? 0n) >= last) break;
  }
  return versions;
}

/** The transitions after `since` up to the first end: "12 Running". */
export function transitionsAfter(versions: ReadonlyArray<{ version: Version | undefined }>, since: bigint): string[] {
  const lines: string[] = [];
  for (const { version } of versions) {
    if (version === undefined || version.revision <= since || !version.record.isTransition) continue;
    lines.push(`${version.revision} ${stateName(version.status.state)}`);
    if (isEnded(version.status.state)) break;
  }
  return lines;
}

/** The log entries of a generation that are in the store. */
export async function readLog(
  store: Store,
  controller: string,
  taskId: string,
  generation: string,
): Promise<LogEntry[]> {
  const chunks = await store.scan({ prefix: logPrefix(controller, taskId, generation), limit: 100_000 });
  return chunks.flatMap(({ value }) => decodeLogChunk(value));
}
