import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import type { TaskRecord } from "#gen/stint/store/v1/record_pb.js";

/**
 * Copies with some fields changed, as each event makes of a task. Field by field, in one place for all: V8 gives an object that is spread into another at
 * some place a shape of that place, so that tasks came to have as many shapes as there are ways through their events, and whoever
 * reads or copies one of many shapes does so several times as slowly.
 */
type Whole<T> = { [K in Exclude<keyof T, "$unknown">]-?: T[K] };

/** The status with these fields changed, also where they are unset by it. */
export function changedStatus(status: TaskStatus, changes: Partial<TaskStatus>): TaskStatus {
  const whole: Whole<TaskStatus> = {
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
  return Object.assign(whole, changes);
}

/** The same of what is kept beside a status. */
export function changedRecord(record: TaskRecord, changes: Partial<TaskRecord>): TaskRecord {
  const whole: Whole<TaskRecord> = {
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
  return Object.assign(whole, changes);
}
