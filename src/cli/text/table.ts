import { displayWidth, padText, truncateText } from "./width.ts";

/** Rows as lines with aligned columns, at least `widths` wide; a line longer than `columns` is cut. */
export function renderTable(rows: readonly (readonly string[])[], options: TableOptions = {}): string[] {
  const widths = columnWidths(rows, options.widths);
  return rows.map((row) => {
    const line = row
      .map((cell, index) => (index === row.length - 1 ? cell : padText(cell, widths[index] ?? 0)))
      .join("  ");
    return truncateText(line.trimEnd(), options.columns ?? Number.POSITIVE_INFINITY);
  });
}

export interface TableOptions {
  /** Widths that the columns have at least, so that pages of one table align. */
  readonly widths?: readonly number[] | undefined;
  /** Default: no limit. */
  readonly columns?: number | undefined;
}

/** The widths that these rows need, and not less than `atLeast`. */
export function columnWidths(rows: readonly (readonly string[])[], atLeast: readonly number[] = []): number[] {
  const widths = [...atLeast];
  for (const row of rows) {
    for (const [index, cell] of row.entries()) widths[index] = Math.max(widths[index] ?? 0, displayWidth(cell));
  }
  return widths;
}
