import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

let collect: (() => void) | undefined;

/** The bytes of the heap that are in use, after all garbage was collected. */
export function heapBytes(): number {
  if (collect === undefined) {
    setFlagsFromString("--expose-gc");
    collect = runInNewContext("gc") as () => void;
  }
  // What a collection finalizes is garbage for the next.
  for (let i = 0; i < 3; i += 1) collect();
  return process.memoryUsage().heapUsed;
}
