import { ControllerError } from "../controller/error.ts";
import type { OpenedStore, StoreBackup } from "../store/open.ts";
import { StoreError } from "../store/store.ts";

/** Begins a backup of a server's store. Throws ControllerError FAILED_PRECONDITION where it has none, UNAVAILABLE. */
export async function openBackup(store: OpenedStore | undefined): Promise<StoreBackup> {
  if (store === undefined) throw new Error("calls are refused until the store is open");
  try {
    return await store.openBackup();
  } catch (cause) {
    if (!(cause instanceof StoreError)) throw cause;
    if (cause.code === "INVALID") throw new ControllerError("FAILED_PRECONDITION", cause.message, { cause });
    const message = "the store is failing, and cannot be backed up now";
    throw new ControllerError("UNAVAILABLE", message, { cause, reason: "STORE_UNAVAILABLE", retryDelayMs: 1_000 });
  }
}
