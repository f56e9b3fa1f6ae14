import { JsonText } from "../json-text.ts";

/** What a line of a command's output says. */
export type OutputLine =
  | { readonly kind: "progress"; readonly progress: CommandProgress }
  | { readonly kind: "result"; readonly result: JsonText }
  | { readonly kind: "error"; readonly message: string }
  | { readonly kind: "log" };

export interface CommandProgress {
  readonly current: bigint;
  /** 0 when it is not known. */
  readonly total: bigint;
  readonly message: string;
}

/** A result is as large as the service keeps one; its line may be longer than others. */
export const resultMaxBytes = 256 * 1024;
export const resultPrefix = "::result ";
const progressMessageMaxBytes = 4 * 1024;
const uint64Max = 2n ** 64n - 1n;

const log: OutputLine = { kind: "log" };

/**
 * Reads `::progress 3/10 message`, `::result JSON` and `::error message`. Whatever is not quite one of
 * them is a log entry, like any other line.
 */
export function parseOutputLine(line: string): OutputLine {
  if (!line.startsWith("::")) return log;
  const progress = /^::progress (\d{1,20})\/(\d{1,20})(?: (.*))?$/s.exec(line);
  if (progress !== null) return progressLine(BigInt(progress[1] ?? ""), BigInt(progress[2] ?? ""), progress[3] ?? "");
  if (line.startsWith(resultPrefix)) return resultLine(line.slice(resultPrefix.length).trim());
  const [, message = ""] = /^::error +(.*)$/s.exec(line) ?? [];
  return trimBlanks(message) === "" ? log : { kind: "error", message };
}

function progressLine(current: bigint, total: bigint, message: string): OutputLine {
  if (current > uint64Max || total > uint64Max) return log;
  return {
    kind: "progress",
    progress: { current, total, message: cutBytes(trimBlanks(message), progressMessageMaxBytes) },
  };
}

function resultLine(text: string): OutputLine {
  if (Buffer.byteLength(text) > resultMaxBytes) return log;
  try {
    return { kind: "result", result: new JsonText(text) };
  } catch {
    // It is not JSON.
    return log;
  }
}

/** Without blanks at its ends; other white space, such as a byte order mark, is text. */
function trimBlanks(text: string): string {
  return text.replace(/^[ \t\r]+/, "").replace(/[ \t\r]+$/, "");
}

/** At most `maxBytes` of UTF-8, and no part of a character. */
function cutBytes(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= maxBytes) return text;
  // A decoder that is told that more comes keeps back the character that is not whole.
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(0, maxBytes), { stream: true });
}
