import { StoreError } from "./store.ts";

/** What kind of refusal or failure it is. */
export type KeyValueErrorCode =
  /** The key's revision is not the one given. */
  | "CONFLICT"
  /** The key is absent. */
  | "NOT_FOUND"
  /** The call itself is wrong. */
  | "INVALID_ARGUMENT"
  /** The revision lies ahead of the store's, or its history is gone; then `firstRevision` is the first there is. */
  | "OUT_OF_RANGE"
  /** The store cannot be used just now, or is closed. A put or delete that failed so may have been applied, see `cause`. */
  | "UNAVAILABLE"
  /** The stored bytes of the key are damaged. */
  | "DATA_LOSS";

/** Every failure of a KeyValueStore. */
export class KeyValueError extends Error {
  readonly code: KeyValueErrorCode;
  /** The first revision that can be read and watched from, where history is gone. */
  readonly firstRevision: bigint | undefined;

  constructor(
    code: KeyValueErrorCode,
    message: string,
    options: { cause?: unknown; firstRevision?: bigint | undefined } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "KeyValueError";
    this.code = code;
    this.firstRevision = options.firstRevision;
  }
}

const codes = {
  CONFLICT: "CONFLICT",
  COMPACTED: "OUT_OF_RANGE",
  FUTURE: "OUT_OF_RANGE",
  CORRUPT: "DATA_LOSS",
  UNAVAILABLE: "UNAVAILABLE",
  INVALID: "INVALID_ARGUMENT",
  LOCKED: "UNAVAILABLE",
  DAMAGED: "DATA_LOSS",
} as const satisfies Record<StoreError["code"], KeyValueErrorCode>;

/** The store's failure in the view's words; anything else is left as it is. */
export function toKeyValueError(error: unknown): unknown {
  if (!(error instanceof StoreError)) return error;
  return new KeyValueError(codes[error.code], error.message, { cause: error, firstRevision: error.firstRevision });
}

/** Whether it says that the history of a revision is gone. */
export function isCompacted(error: unknown): boolean {
  return error instanceof StoreError && error.code === "COMPACTED";
}
