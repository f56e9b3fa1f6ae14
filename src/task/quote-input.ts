import { cutText } from "./limits.ts";

/**
 * What a caller sent, fit for a message, a log or a terminal: quoted, cut to
 * `maxBytes`, and in printable ASCII, with everything else escaped as in JSON.
 * No input can break a line, move a cursor or turn the direction of writing.
 */
export function quoteInput(text: string, maxBytes = 64): string {
  return JSON.stringify(cutText(text, maxBytes)).replace(
    /[^\x20-\x7e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
