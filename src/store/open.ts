/** The one place that knows all backends. */
import type { Clock } from "../clock.ts";
import type { Faults } from "../faults.ts";
import type { Log } from "../log.ts";
import { openLevelStore } from "./level-store.ts";
import { openMemoryStore } from "./memory.ts";
import { type Store, StoreError } from "./store.ts";

/** What any store is opened with. */
export interface OpenStoreOptions {
  readonly clock?: Clock | undefined;
  readonly log?: Log | undefined;
  /** Counts and logs what is found damaged. Default: one of its own, which logs to `log`. */
  readonly faults?: Faults | undefined;
  /** For a store on disk: "sync" (the default) survives a power cut, "async" the process's death. */
  readonly durability?: "sync" | "async" | undefined;
  /** How long history can be read and watched; an hour by default. */
  readonly historyMs?: number | undefined;
  /** How many bytes of history are kept, about; 1 GiB by default. */
  readonly historyBytes?: number | undefined;
}

/** The bytes of a backup, piece by piece: those of a file. Disposing lets go of what they are read from. */
export interface StoreBackup extends AsyncDisposable {
  readonly pieces: AsyncIterable<Uint8Array>;
}

/** A store that `await using` closes at the end of its scope. */
export interface OpenedStore extends Store, AsyncDisposable {
  /**
   * A backup of this moment, which `stint store restore` makes a store of; commits wait while it begins, for some milliseconds. Whoever opens it
   * disposes of it. Throws StoreError INVALID where the store is in memory, UNAVAILABLE.
   */
  openBackup(): Promise<StoreBackup>;
}

/**
 * Opens the store that `location` names: "level:DIRECTORY" or "memory:". Throws StoreError
 * INVALID for any other, and what the backend throws (see openLevelStore). Whoever opens it closes it, after
 * the controllers on it: a process with an open store does not end by itself.
 */
export async function openStore(location: string, options: OpenStoreOptions = {}): Promise<OpenedStore> {
  const store = await openBackend(location, options);
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}

async function openBackend(
  location: string,
  options: OpenStoreOptions,
): Promise<Store & Pick<OpenedStore, "openBackup">> {
  const colon = location.indexOf(":");
  const scheme = location.slice(0, Math.max(colon, 0));
  const path = location.slice(colon + 1);
  if (scheme === "level" && path !== "") return openLevelStore(path, options);
  if (scheme === "memory" && path === "")
    return Object.assign(await openMemoryStore(options), { openBackup: noBackup });
  const message = `a store's location is "level:DIRECTORY" or "memory:", not ${JSON.stringify(location)}`;
  throw new StoreError("INVALID", message);
}

async function noBackup(): Promise<never> {
  throw new StoreError("INVALID", "a store in memory has no backup");
}
