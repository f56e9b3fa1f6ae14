/**
 * What a terminal would obey instead of show, or what would change how the text
 * around it reads: control and format characters (the bidirectional overrides
 * among them), line separators, and halves of surrogate pairs. The two joiners are left, since
 * scripts and emoji need them.
 */
const unsafe = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}]|(?![\u200c\u200d])\p{Cf}/gu;

/** The text with everything unsafe written as \n, \t, \xNN, \uNNNN or \u{NNNNN}. For all that a server sends. */
export function escapeText(text: string): string {
  return text.replace(unsafe, (character) => {
    if (character === "\n") return "\\n";
    if (character === "\r") return "\\r";
    if (character === "\t") return "\\t";
    const code = character.codePointAt(0) ?? 0;
    const hex = code.toString(16);
    if (code <= 0xff) return `\\x${hex.padStart(2, "0")}`;
    return code <= 0xffff ? `\\u${hex.padStart(4, "0")}` : `\\u{${hex}}`;
  });
}

/** The same for text of several lines: each line escaped, the line breaks kept. */
export function escapeLines(text: string): string[] {
  return text.split(/\r?\n/).map(escapeText);
}

/** The same on one line: where the text has several, a space stands between them. */
export function escapeOnOneLine(text: string): string {
  const lines = text.split(/[\r\n]+/).map((line) => line.trim());
  return escapeText(lines.filter(Boolean).join(" "));
}

/** JSON text with what is unsafe in its strings written as \\uNNNN, so that it means the same. The line break at the end is kept. */
export function escapeJson(json: string): string {
  return (
    json.trimEnd().replace(unsafe, (character) => {
      let escaped = "";
      for (let unit = 0; unit < character.length; unit += 1) {
        escaped += `\\u${character.charCodeAt(unit).toString(16).padStart(4, "0")}`;
      }
      return escaped;
    }) + "\n"
  );
}
