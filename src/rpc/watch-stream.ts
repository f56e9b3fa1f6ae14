/**
 * What WatchTask and WatchTasks answer with: the changes of a watch of the controller's, and where to go on
 * when the server drains.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { WatchTaskResponseSchema, WatchTasksResponseSchema } from "#gen/stint/v1/controller_pb.js";
import type { Controller, TasksChange, WatchTaskOptions, WatchTasksOptions } from "../controller/controller.ts";
import type { ControllerError } from "../controller/error.ts";
import type { Streamed } from "./answer-stream.ts";
import { drainingError } from "./availability.ts";

/** The watch is begun when the first answer is asked for; what is wrong with it is thrown here. */
export function watchTask(
  controller: Controller,
  taskId: string,
  options: WatchTaskOptions,
): Streamed<MessageInitShape<typeof WatchTaskResponseSchema>> {
  let position = options.sinceRevision ?? 0n;
  // An answer is only read, and encoded once for all who are sent the same.
  const changes = controller.watchTask(taskId, { ...options, shareChanges: true });
  return {
    answers: changes as AsyncIterable<MessageInitShape<typeof WatchTaskResponseSchema>>,
    note: ({ revision }) => {
      position = revision ?? position;
    },
    drained: () => drainedAt(position),
  };
}

/** What opens a watch of tasks: a controller, or all of them. */
export type OpenTasksWatch = (options: WatchTasksOptions) => AsyncIterable<TasksChange>;

/** As `watchTask`. */
export function watchTasks(
  openWatch: OpenTasksWatch,
  options: WatchTasksOptions,
): Streamed<MessageInitShape<typeof WatchTasksResponseSchema>> {
  let position = options.sinceRevision ?? 0n;
  return {
    answers: openWatch(options),
    note: ({ bookmark, revision }) => {
      // A snapshot that was cut off cannot be gone on with: it has no position until its bookmark.
      if (bookmark === true || position > 0n) position = revision ?? position;
    },
    drained: () => drainedAt(position),
  };
}

/** `position` is how far the changes have been sent, 0n where that is nowhere. */
function drainedAt(position: bigint): ControllerError {
  return position === 0n ? drainingError() : drainingError({ since_revision: String(position) });
}
