/** `npm run bench -- NAME` runs the run() of bench/NAME.ts and prints its rows, which it also sends to the process that has forked it, if one has. */
import { readdir } from "node:fs/promises";
import { printRows, type Row } from "./support/rows.ts";

const files = await readdir(new URL(".", import.meta.url));
const names = files.filter((file) => file.endsWith(".ts") && file !== "main.ts").map((file) => file.slice(0, -3));
const name = process.argv[2] ?? "";
if (!names.includes(name)) {
  console.error(`usage: npm run bench -- NAME    with NAME one of ${names.join(", ")}`);
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
