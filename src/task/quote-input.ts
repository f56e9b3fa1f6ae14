import { cutText } from "./limits.ts";

/** Control and format characters (the bidirectional ones among them), unassigned ones, halves of surrogate pairs, and separators of lines. */
const unsafe = /[\p{C}\p{Zl}\p{Zp}]/gu;

/**
 * What a caller sent, fit for a message, a log or a terminal: quoted, cut to
 * `maxBytes`, and safe as `escapeInput` makes it.
 */
export function quoteInput(text: string, maxBytes = 64): string {
  return `"${escapeInput(text, maxBytes)}"`;
}

/**
 * The same without quotes around it. Only what is not printed is escaped, as in JSON: no input can break a line, move a cursor or
 * turn the direction of writing. Letters of all scripts and quotes stay readable, also where one message is quoted in another.
 */
export function escapeInput(text: string, maxBytes: number): string {
  return cutText(text, maxBytes).replace(unsafe, (character) => {
    const short = shortEscapes[character];
    if (short !== undefined) return short;
    let escaped = "";
    for (let unit = 0; unit < character.length; unit += 1)
      escaped += `\\u${character.charCodeAt(unit).toString(16).padStart(4, "0")}`;
    return escaped;
  });
}

const shortEscapes: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
