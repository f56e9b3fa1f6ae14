/** `npm run bench -- NAME` runs the run() of bench/NAME.ts, and prints its rows. */
import { printRows, type Row } from "./support/rows.ts";

const name = process.argv[2] ?? "";
if (!/^[a-z][a-z-]*$/.test(name) || name === "main") {
  console.error("usage: npm run bench -- NAME    with NAME as in bench/NAME.ts, for example ceiling");
  process.exit(2);
}
const bench = (await import(new URL(`${name}.ts`, import.meta.url).href)) as { run(): Promise<Row[]> };
printRows(await bench.run());
