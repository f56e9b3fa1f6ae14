/** What a benchmark has found, for the summary: a row for each thing that has a target, or is worth a line. */
import { cpus, loadavg } from "node:os";

export interface Row {
  readonly name: string;
  readonly measured: string;
  /** Empty where there is none. */
  readonly target: string;
  /** Undefined where there is no target, or nothing to compare with. */
  readonly met?: boolean | undefined;
}

/** Prints what was measured, and where. */
export function printHeading(title: string): void {
  const [cpu] = cpus();
  const load = loadavg()[0]?.toFixed(1);
  console.log(
    `\n${title}\nNode ${process.version}, ${cpus().length} x ${cpu?.model ?? "unknown processor"}, load ${load}, rounds in turn\n`,
  );
}

/** Prints the rows, with the target and whether it is met. */
export function printRows(rows: readonly Row[]): void {
  const head = { name: "what", measured: "measured", target: "target", met: undefined };
  const widthOf = (key: "name" | "measured" | "target"): number =>
    Math.max(...[head, ...rows].map((each) => each[key].length)) + 2;
  const widths = [widthOf("name"), widthOf("measured"), widthOf("target")] as const;
  const line = ({ name, measured, target }: Row, met: string): string =>
    `${name.padEnd(widths[0])}${measured.padEnd(widths[1])}${target.padEnd(widths[2])}${met}`;
  console.log(`\n${line(head, "met")}`);
  for (const each of rows) console.log(line(each, each.met === undefined ? "-" : each.met ? "yes" : "no"));
}
