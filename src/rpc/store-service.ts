/** StoreService: what concerns the whole store. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type BackupRequest, BackupResponseSchema, type StoreService } from "#gen/stint/v1/store_pb.js";
import { ControllerError } from "../controller/error.ts";
import { serverStreamCall } from "./answer-stream.ts";
import { drainingError } from "./availability.ts";
import { type CallPolicy, type Implementation, raceSignal } from "./call.ts";

/** The bytes of a backup; disposing lets go of what they are read from. */
export type OpenBackup = () => Promise<{ readonly pieces: AsyncIterable<Uint8Array> } & AsyncDisposable>;

export interface StoreServiceOptions extends CallPolicy {
  /** Throws FAILED_PRECONDITION where the store has no backups, UNAVAILABLE. */
  readonly openBackup: OpenBackup;
}

const retryMs = 10_000;

export function createStoreService(options: StoreServiceOptions): Implementation<typeof StoreService> {
  // Each keeps files that would be deleted, and reads all of the store.
  let isUnderWay = false;

  async function* backUp(signal: AbortSignal): AsyncGenerator<MessageInitShape<typeof BackupResponseSchema>> {
    if (isUnderWay) {
      throw new ControllerError("RESOURCE_EXHAUSTED", "another backup is under way", { retryDelayMs: retryMs });
    }
    isUnderWay = true;
    try {
      await using backup = await options.openBackup();
      const pieces = backup.pieces[Symbol.asyncIterator]();
      try {
        for (;;) {
          const next = await raceSignal(pieces.next(), signal);
          if (next.done === true) return;
          yield create(BackupResponseSchema, { piece: next.value });
        }
      } finally {
        // Lets go of the file that it reads. A read that hangs is not waited for.
        void pieces.return?.().catch(() => {});
      }
    } finally {
      isUnderWay = false;
    }
  }

  return {
    backup: serverStreamCall(options, (_: BackupRequest, call) => ({
      answers: backUp(call.signal),
      drained: () => drainingError(),
    })),
  };
}
