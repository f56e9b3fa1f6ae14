// The lines at the bottom of a terminal that are drawn over and over.
//
// It owns the terminal's cursor, one timer and the lines as they were drawn last. States: open, closed.
//
// 1. Nothing is drawn more often than every 100 ms; while it is open it is drawn at least once a second, for what changes
//    with time alone.
// 2. No line is wider than the terminal less one column: a wrapped line would be left behind.
// 3. The cursor is hidden while it is open, and shown again when it is closed or the process exits.

import type { Io } from "./io.ts";
import { displayWidth } from "./text/width.ts";

/** Lines that are kept up to date at the bottom of the terminal. */
export interface LiveArea {
  /** There is something new to draw. */
  changed(): void;
  /** Writes lines above, where they stay. */
  print(lines: readonly string[]): void;
  /** Makes room for somebody else's output, written by `write`; it must end with a line break. */
  aside(write: () => void): void;
  /** Draws a last time and leaves the lines there. Idempotent. */
  close(): void;
}

const drawEveryMs = 100;
const refreshEveryMs = 1000;

/** Opens the area on stdout, which must be a terminal. `render` gets the columns that a line may have. */
export function openLiveArea(io: Io, render: (columns: number) => readonly string[]): LiveArea {
  const { stdout, clock } = io;
  let drawn: readonly string[] = [];
  let drawnAtMs = Number.NEGATIVE_INFINITY;
  let dueMs = Number.POSITIVE_INFINITY;
  let cancelTimer = (): void => {};
  let closed = false;

  const draw = (above = ""): void => {
    const erased = eraseLines(drawn, stdout.columns());
    drawn = render(Math.max(1, stdout.columns() - 1));
    stdout.write(erased + above + drawn.join("\n"));
    drawnAtMs = clock.mono();
    drawAt(drawnAtMs + refreshEveryMs);
  };
  const drawAt = (atMs: number): void => {
    cancelTimer();
    dueMs = atMs;
    cancelTimer = clock.after(Math.max(0, atMs - clock.mono()), () => draw());
  };
  const changed = (): void => {
    const soonestMs = Math.max(clock.mono(), drawnAtMs + drawEveryMs);
    if (!closed && soonestMs < dueMs) drawAt(soonestMs);
  };

  const stopResize = stdout.onResize(() => draw());
  const stopExit = io.onExit(() => stdout.write("\n\x1b[?25h"));
  stdout.write("\x1b[?25l");
  draw();

  return {
    changed,
    print: (lines) => draw(lines.map((line) => `${line}\n`).join("")),
    aside(write) {
      stdout.write(eraseLines(drawn, stdout.columns()));
      drawn = [];
      write();
      draw();
    },
    close() {
      if (closed) return;
      draw();
      closed = true;
      cancelTimer();
      stopResize();
      stopExit();
      stdout.write(`${drawn.length > 0 ? "\n" : ""}\x1b[?25h`);
    },
  };
}

/** Goes from the end of the last of the lines to the start of the first, and clears from there on. */
function eraseLines(lines: readonly string[], columns: number): string {
  if (lines.length === 0) return "";
  // A terminal that was made narrower has wrapped them.
  const rows = lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(displayWidth(line) / columns)), 0);
  return `${rows > 1 ? `\x1b[${rows - 1}A` : ""}\r\x1b[J`;
}
