import type { TextOutput } from "./io.ts";

/** A stream of the process, stdout or stderr, as the commands see it. `onError` hears of a reader that went away. */
export function createTextOutput(
  stream: NodeJS.WriteStream,
  onError: (error: NodeJS.ErrnoException) => void,
): TextOutput {
  stream.on("error", onError);
  return {
    isTerminal: stream.isTTY === true,
    columns: () => stream.columns || 80,
    onResize(resized) {
      stream.on("resize", resized);
      return () => stream.off("resize", resized);
    },
    write: (text) => void stream.write(text),
    // The callback of an empty write comes when all that was written before it is with the system.
    drained: () =>
      new Promise((resolve) => (stream.writableLength > 0 ? stream.write("", () => resolve()) : resolve())),
  };
}
