/** The library: everything a program needs to run a controller of its own. */
export type {
  LogEntry,
  Progress,
  StateTransition,
  TaskCancel,
  TaskError,
  TaskStatus,
} from "#gen/core/v1/core_pb.js";
export {
  LogEntrySchema,
  ProgressSchema,
  StateTransitionSchema,
  TaskCancelSchema,
  TaskErrorSchema,
  TaskState,
  TaskStatusSchema,
  TaskTrigger,
} from "#gen/core/v1/core_pb.js";
export { type Clock, systemClock } from "./clock.ts";
export type {
  CanceledTask,
  CancelOptions,
  CancelStage,
  Controller,
  IfActive,
  IfEnded,
  LaunchedRun,
  LaunchedTask,
  LaunchOptions,
  LaunchOutcome,
  LogPage,
  LogsOptions,
  QueryOptions,
  ReadOptions,
  TaskChange,
  TaskLaunch,
  TaskPage,
  TaskSnapshot,
  TaskFilter,
  TasksChange,
  WaitedTask,
  WaitOptions,
  WatchTaskOptions,
  WatchTasksOptions,
} from "./controller/controller.ts";
export type { ControllerLimits } from "./controller/core.ts";
export {
  ControllerError,
  type ControllerErrorCode,
  type ControllerErrorDetails,
  type ErrorReasonName,
  type FieldViolation,
} from "./controller/error.ts";
export { type ControllerOptions, defaultControllerLimits, openController } from "./controller/open-controller.ts";
export type { Retention } from "./controller/retention.ts";
export { createStoreGuard, type StoreGuard, type StoreGuardOptions } from "./controller/store-guard.ts";
export type {
  ActiveTask,
  JsonObject,
  JsonValue,
  LogLevel,
  ProgressInit,
  StandardResult,
  StandardSchema,
  TaskContext,
  TaskRunner,
} from "./controller/task-runner.ts";
export { type FaultKind, faultKinds, Faults } from "./faults.ts";
export { type Log, silentLog } from "./log.ts";
export { type Random, systemRandom } from "./random.ts";
export type { Codec, FoldingCodec } from "./store/key-value-codec.ts";
export { KeyValueError, type KeyValueErrorCode } from "./store/key-value-error.ts";
export {
  createKeyValueStore,
  type HistoryEntry,
  type HistoryOptions,
  type KeyValueStore,
} from "./store/key-value-store.ts";
export type { KeyValueEvent, VersionedValue, WatchKeysOptions } from "./store/key-value-watch.ts";
export { type OpenedStore, openStore, type OpenStoreOptions, type StoreBackup } from "./store/open.ts";
export {
  type Change,
  compareKeys,
  type Condition,
  type Entry,
  type GetOptions,
  type NextChanges,
  type ScanOptions,
  type Store,
  StoreError,
  type StoreErrorCode,
  type StoreEvent,
  type StoreWatch,
  type WatchOptions,
} from "./store/store.ts";
export { createKVStore, type KVStore } from "./store/task-store.ts";
export { type AbortKind, AbortReason } from "./task/abort.ts";
export type { TaskLimits } from "./task/limits.ts";
export {
  StateCanceled,
  StateCompleted,
  StateFailed,
  StatePending,
  StateRunning,
  StateUnknown,
} from "./task/state.ts";
