import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { Faults } from "../../src/faults.ts";
import { createAvailability } from "../../src/rpc/availability.ts";
import { createStoreService } from "../../src/rpc/store-service.ts";
import { createStreamSlots } from "../../src/rpc/stream-slots.ts";
import { create } from "@bufbuild/protobuf";
import { BackupRequestSchema } from "#gen/stint/v1/store_pb.js";

test("a backup whose client leaves in the middle lets go of what it reads, and of the backup", async () => {
  const availability = createAvailability();
  availability.enter("serving");
  const released: string[] = [];
  async function* pieces(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield new Uint8Array(3);
    } finally {
      released.push("file");
    }
  }
  const openBackup = async () => ({
    pieces: pieces(),
    [Symbol.asyncDispose]: async () => void released.push("backup"),
  });
  const service = createStoreService({ availability, streams: createStreamSlots(1), faults: new Faults(), openBackup });
  const answers = service.backup(create(BackupRequestSchema), { method: { name: "Backup" } });
  expect((await answers.next()).value?.piece).toHaveLength(3);
  answers.end(new ConnectError("the call was canceled", Code.Canceled));
  await new Promise((resolve) => setImmediate(resolve));
  expect(released.toSorted()).toEqual(["backup", "file"]);
});
