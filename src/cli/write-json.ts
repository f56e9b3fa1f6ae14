import { type DescMessage, type MessageShape, toJsonString } from "@bufbuild/protobuf";
import type { Io } from "./io.ts";
import { escapeJson } from "./text/escape.ts";

/** Writes a message to stdout as a line of JSON, in protobuf's mapping; nothing in it can be obeyed by a terminal. */
export function writeJson<D extends DescMessage>(io: Io, schema: D, message: MessageShape<D>): void {
  io.stdout.write(escapeJson(toJsonString(schema, message)));
}
