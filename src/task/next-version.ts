/**
 * The next version of a task, to be given what is other in it: a copy that is its maker's own until others see it. Field by field, in one place for all,
 * and what is other is set: V8 gives an object that is spread into another a shape of that place, so that tasks came to have as many shapes as there are
 * ways through their events, and whoever reads one of many shapes does so several times as slowly; and a property that a spread
 * has brought in and that is named behind it again is defined by V8's runtime, which took a tenth of all that a task takes.
 */
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import type { TaskRecord } from "#gen/stint/store/v1/record_pb.js";

type Whole<T> = { [K in Exclude<keyof T, "$unknown">]-?: T[K] };

/** A copy of the status; what its fields have is shared with it. */
export function nextStatus(status: TaskStatus): TaskStatus {
  const next: Whole<TaskStatus> = {
    $typeName: status.$typeName,
    state: status.state,
    progress: status.progress,
    metadata: status.metadata,
    logs: status.logs,
    transitions: status.transitions,
    error: status.error,
    result: status.result,
    attempt: status.attempt,
    cancel: status.cancel,
    labels: status.labels,
    owner: status.owner,
    createTime: status.createTime,
    updateTime: status.updateTime,
    runId: status.runId,
    startTime: status.startTime,
    endTime: status.endTime,
    logCount: status.logCount,
    logsDropped: status.logsDropped,
    transitionsDropped: status.transitionsDropped,
    waitingFor: status.waitingFor,
    runner: status.runner,
    crashCount: status.crashCount,
    rejectedWrites: status.rejectedWrites,
  };
  return next;
}

/** The same of what is kept beside a status. */
export function nextRecord(record: TaskRecord): TaskRecord {
  const next: Whole<TaskRecord> = {
    $typeName: record.$typeName,
    generation: record.generation,
    queueNumber: record.queueNumber,
    logLastSeq: record.logLastSeq,
    logBytes: record.logBytes,
    previousTransitionRevision: record.previousTransitionRevision,
    isTransition: record.isTransition,
    attemptProgressed: record.attemptProgressed,
    metadataBytes: record.metadataBytes,
    resultBytes: record.resultBytes,
    writtenSeq: record.writtenSeq,
    endFence: record.endFence,
    rejectedEntries: record.rejectedEntries,
    endSeq: record.endSeq,
  };
  return next;
}
