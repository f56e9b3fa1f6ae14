/** What a terminal shows after this was written to it: its lines, and whether the cursor is to be seen. Knows the codes that a live area writes; throws at others. */
export function showScreen(written: string, columns: number): { lines: string[]; cursor: boolean } {
  const rows: string[] = [""];
  let row = 0;
  let column = 0;
  let cursor = true;
  // oxlint-disable-next-line no-control-regex -- control characters are what this is about
  const tokens = written.matchAll(/\x1b\[(\?25[lh]|\d*A|J|[\d;]*m)|\x1b|\r|\n|[^\x1b\r\n]/gu);
  for (const [token, code] of tokens) {
    if (token === "\r") column = 0;
    else if (token === "\n") [row, column] = [row + 1, 0];
    else if (code === "?25l" || code === "?25h") cursor = code === "?25h";
    else if (code?.endsWith("A")) row -= Number(code.slice(0, -1));
    else if (code === "J") {
      rows.length = row + 1;
      rows[row] = (rows[row] ?? "").slice(0, column);
    } else if (code?.endsWith("m")) continue;
    else if (token.startsWith("\x1b")) throw new Error(`an unknown code: ${JSON.stringify(token)}`);
    else {
      if (column >= columns) [row, column] = [row + 1, 0];
      rows[row] = (rows[row] ?? "").slice(0, column) + token + (rows[row] ?? "").slice(column + 1);
      column += 1;
    }
    rows[row] ??= "";
  }
  if (row < 0) throw new Error("the cursor left the screen");
  return { lines: rows.map((line) => line ?? ""), cursor };
}
