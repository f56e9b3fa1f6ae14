/** A stack with the frames shortened whose file is a data: URL: tsx loads a module of CommonJS by one, with all of its code in it. */
export function shortenStack(stack: string): string {
  return stack
    .split("\n")
    .map((line) => (/^\s+at /.test(line) ? shortenFrame(line) : line))
    .join("\n");
}

function shortenFrame(frame: string): string {
  const at = frame.indexOf("data:");
  if (at < 0) return frame;
  // Its line and column are of the code that tsx has made, not of the file.
  const [, file = ""] = /[?&]filePath=([^&:)\s]{1,512})[^&)\s]*\)?$/.exec(frame.slice(-1024)) ?? [];
  return `${frame.slice(0, at)}${file === "" ? "data:…" : nameOf(file)}${frame.endsWith(")") ? ")" : ""}`;
}

/** The file without the query that tsx adds to it. */
function nameOf(encoded: string): string {
  try {
    return decodeURIComponent(encoded).replace(/\?.*$/s, "");
  } catch {
    return "data:…";
  }
}
