import { type WatchTaskResponse, WatchTaskResponseSchema } from "#gen/stint/v1/controller_pb.js";
import type { Io } from "./io.ts";
import { formatTime } from "./text/format.ts";
import { describeMessage, emptyMemory, lineText, type WatchMemory } from "./text/watch-line.ts";
import { writeJson } from "./write-json.ts";

/** How a watch is shown. */
export interface WatchView {
  message(message: WatchTaskResponse): void;
  /** The connection was lost or is back; `text` is for people, on stderr. */
  connection(connected: boolean, text: string): void;
  /** Leaves the terminal as it was. Idempotent. */
  close(): void;
}

/** One JSON object a line for each message, bookmarks included. */
export function createJsonView(io: Io): WatchView {
  return {
    message: (message) => writeJson(io, WatchTaskResponseSchema, message),
    connection: (_connected, text) => io.stderr.write(`${text}\n`),
    close: () => {},
  };
}

/** One line of text for each event, with its time in UTC: for pipes, files and logs. */
export function createLineView(io: Io, name: string): WatchView {
  let memory: WatchMemory = emptyMemory;
  return {
    message(message) {
      const described = describeMessage(message, memory);
      memory = described.memory;
      for (const line of described.lines) {
        io.stdout.write(`${formatTime(line.time)} ${name} ${lineText(line)}\n`);
      }
    },
    connection: (_connected, text) => io.stderr.write(`${text}\n`),
    close: () => {},
  };
}
