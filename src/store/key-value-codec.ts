import { KeyValueError } from "./key-value-error.ts";
import { type Change, type Entry, type Store, StoreError } from "./store.ts";

/** How a value is stored in the bytes of its key, and nowhere else. */
export interface Codec<T> {
  encode(value: T): Uint8Array;
  /** Throws where the bytes are not those of a value. */
  decode(bytes: Uint8Array): T;
}

/**
 * How a value is stored that is more than the bytes of its key: parts of it may
 * be keys of their own, and index entries may belong to it. Both functions
 * must keep to this: whatever belongs to a key changes only in a commit that changes the key.
 */
export interface FoldingCodec<T> {
  /** All keys of the view begin with it; what else is in the store is not in the view. */
  readonly root: string;
  /** Keys that begin with it are parts of values, and not in the view. */
  readonly hidden?: string;
  /**
   * The value whose key has `entry`, with the rest of it read from the store as
   * of `revision`, at which the key has that entry. Throws what the store
   * throws; anything else that it throws says that the stored bytes are damaged.
   */
  load(entry: Entry, store: Store, revision: bigint): Promise<T>;
  /**
   * All changes that put `value` (undefined: delete it) where `before` is
   * (undefined: nothing is), the change of the key itself included. Pure.
   * What it throws says that the key or the value is wrong. `before` has no bytes where it is corrupt;
   * then the value is only to be deleted.
   */
  changes(key: string, before: Entry | undefined, value: T | undefined): readonly Change[];
}

/** Whether a key is one of the view's. */
export function isInView<T>({ root, hidden }: FoldingCodec<T>, key: string): boolean {
  return key.startsWith(root) && (hidden === undefined || !key.startsWith(hidden));
}

/** A plain codec as a folding one that folds nothing. */
export function foldNothing<T>(codec: Codec<T>): FoldingCodec<T> {
  return {
    root: "",
    load: async (entry) => codec.decode(entry.value),
    changes: (key, _before, value) =>
      value === undefined ? [{ type: "delete", key }] : [{ type: "put", key, value: codec.encode(value) }],
  };
}

/** As the codec does it, with what it says of the bytes as DATA_LOSS. */
export async function loadValue<T>(codec: FoldingCodec<T>, entry: Entry, store: Store, revision: bigint): Promise<T> {
  try {
    if (!entry.corrupt) return await codec.load(entry, store, revision);
  } catch (cause) {
    if (cause instanceof StoreError) throw cause;
    throw damaged(entry, cause);
  }
  throw damaged(entry);
}

/** As the codec does it, with what it says of the value as INVALID_ARGUMENT. */
export function changesOf<T>(
  codec: FoldingCodec<T>,
  key: string,
  before: Entry | undefined,
  value: T | undefined,
): readonly Change[] {
  try {
    return codec.changes(key, before, value);
  } catch (cause) {
    if (cause instanceof KeyValueError) throw cause;
    throw new KeyValueError("INVALID_ARGUMENT", `${JSON.stringify(key)} cannot have this value`, { cause });
  }
}

/** The key's bytes are not those of a value. */
export function damaged({ key, revision }: Entry, cause?: unknown): KeyValueError {
  return new KeyValueError("DATA_LOSS", `the value of ${JSON.stringify(key)} at revision ${revision} is damaged`, {
    cause,
  });
}
