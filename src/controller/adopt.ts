import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type LogEntry, StateTransitionSchema } from "#gen/core/v1/core_pb.js";
import { encodeLogChunk } from "../store/codec.ts";
import { logKey } from "../store/keys.ts";
import type { Change } from "../store/store.ts";
import { byteLength } from "../task/limits.ts";
import type { Task } from "../task/task.ts";
import type { Core } from "./core.ts";

/** A task that was read, as the controller works with it. */
export interface Adopted {
  readonly task: Task;
  /** Log entries that lie in the status, to become records of their own with the next version. */
  readonly logs: readonly LogEntry[];
}

/** A task that a program put into the store itself (KVStore) lacks what a launch gives it: here it gets it. */
export function adopt(core: Core, task: Task): Adopted {
  const { status, record } = task;
  const isWhole = status.runId !== "" && status.attempt > 0 && record.generation !== "" && status.logs.length === 0;
  const hasTransition = status.transitions.at(-1)?.state === status.state;
  if (isWhole && hasTransition) return { task, logs: [] };
  const timestamp = timestampFromMs(core.clock.wall());
  const runId = status.runId || core.random.id();
  const logs = inlineLogs(task);
  return {
    task: {
      status: {
        ...status,
        runId,
        attempt: Math.max(1, status.attempt),
        createTime: status.createTime ?? timestamp,
        updateTime: status.updateTime ?? timestamp,
        transitions: hasTransition
          ? status.transitions
          : [...status.transitions, create(StateTransitionSchema, { state: status.state, timestamp })],
        logs: [],
        logCount: logs.length > 0 ? BigInt(logs.length) : status.logCount,
        logsDropped: logs.length > 0 ? 0n : status.logsDropped,
      },
      record: {
        ...record,
        generation: record.generation || core.random.id(),
        logLastSeq: record.logLastSeq + BigInt(logs.length),
        logBytes: BigInt(logs.reduce((sum, { msg }) => sum + byteLength(msg), 0)) || record.logBytes,
      },
    },
    logs,
  };
}

/** The log entries that lie in the status, numbered as they are to be. */
export function inlineLogs({ status, record }: Task): LogEntry[] {
  return status.logs.map((entry, i) => ({ ...entry, seq: record.logLastSeq + BigInt(i) + 1n }));
}

/** The chunk of what `adopt` took out, for the next version `after`; none where that has cleared its log. */
export function adoptedLogChanges(
  core: Core,
  taskId: string,
  logs: readonly LogEntry[],
  after: Task | undefined,
): Change[] {
  const last = logs.at(-1);
  if (last === undefined || after === undefined || after.status.logCount === 0n) return [];
  const key = logKey(core.name, taskId, after.record.generation, last.seq);
  return [{ type: "index", key, value: encodeLogChunk(logs) }];
}
