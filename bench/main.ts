/** `npm run bench -- NAME` runs the run() of bench/NAME.ts and prints its rows, which it also sends to the process that has forked it, if one has. */
import { printRows, type Row } from "./support/rows.ts";

const name = process.argv[2] ?? "";
if (!/^[a-z][a-z-]*$/.test(name) || name === "main") {
  console.error("usage: npm run bench -- NAME    with NAME as in bench/NAME.ts, for example ceiling, or all");
  process.exit(2);
}
// An exit takes along the processes that the benchmark has started; the end by a signal, or of who has forked this one, would leave them.
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
process.once("disconnect", () => process.exit());
const bench = (await import(new URL(`${name}.ts`, import.meta.url).href)) as { run(): Promise<Row[]> };
const rows = await bench.run();
printRows(rows);
if (process.connected) {
  process.send?.(rows);
  process.disconnect();
}
