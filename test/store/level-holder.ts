/** A process that opens stores when it is told to: { open: directory } or { close: true }; answers with the outcome. */
import { openLevelStore } from "../../src/store/level-store.ts";
import { type Store, StoreError } from "../../src/store/store.ts";

export type Order = { readonly open: string } | { readonly close: true };
/** "open", "closed", or why not, beginning with the code of the StoreError. */
export type Outcome = string;

let store: Store | undefined;

async function obey(order: Order): Promise<Outcome> {
  if ("close" in order) {
    await store?.close();
    store = undefined;
    return "closed";
  }
  try {
    store = await openLevelStore(order.open);
    await store.commit([{ type: "put", key: `by ${process.pid}`, value: new Uint8Array(1) }]);
    return "open";
  } catch (error) {
    return error instanceof StoreError ? `${error.code}: ${error.message}` : String(error);
  }
}

process.on("message", (order: Order) => void obey(order).then((outcome) => process.send?.(outcome)));
// Not without its parent.
process.on("disconnect", () => process.kill(process.pid, "SIGKILL"));
process.send?.("ready");
