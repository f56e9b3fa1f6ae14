import pico from "picocolors";
import { pino, stdSerializers } from "pino";
import type { Log } from "../log.ts";
import { type Io, wantsColor } from "./io.ts";
import { cutFields } from "./text/cut-fields.ts";
import { escapeJson } from "./text/escape.ts";
import { renderLogRecord } from "./text/log-record.ts";

/** The server's log on stderr: a line of text for each record on a terminal, and of JSON otherwise. No line is long, whatever is in it. */
export function createProcessLog(io: Io, level: "debug" | "info" | "warn" | "error" = "info"): Log {
  const colors = pico.createColors(wantsColor(io, io.stderr));
  const write = (line: string): void =>
    io.stderr.write(io.stderr.isTerminal ? renderLogRecord(line, colors) : escapeJson(line));
  return pino(
    {
      level,
      base: undefined,
      timestamp: () => `,"time":"${new Date(io.clock.wall()).toISOString()}"`,
      // It comes after the formatter, which has done it already.
      serializers: { err: (error: unknown) => error },
      formatters: {
        level: (label) => ({ level: label }),
        log: ({ err, ...fields }) =>
          cutFields(err instanceof Error ? { ...fields, err: stdSerializers.err(err) } : { ...fields, err }),
      },
    },
    { write },
  );
}
