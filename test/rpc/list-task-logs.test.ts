import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { LogEntrySchema } from "#gen/core/v1/core_pb.js";
import type { ListTaskLogsRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { ControllerError } from "../../src/controller/error.ts";
import { StateRunning } from "../../src/task/state.ts";
import { callError } from "../support/call-error.ts";
import { protocolNames, serveFake } from "../support/served-fake.ts";

const task = { controller: "countdown", taskId: "a" };

const bad: [string, MessageInitShape<typeof ListTaskLogsRequestSchema>, string[]][] = [
  ["nothing at all", {}, ["controller", "task_id"]],
  ["a page token with an escape", { ...task, pageToken: "\u0007" }, ["page_token"]],
  ["an endless page token", { ...task, pageToken: "t".repeat(5_000) }, ["page_token"]],
];

describe("ListTaskLogs", () => {
  test.each(bad)("refuses %s", async (_, request, fields) => {
    await using served = await serveFake();
    expect(await callError(served.client().listTaskLogs(request))).toMatchObject({ code: "InvalidArgument", fields });
    expect(served.controller.callCount).toBe(0);
  });

  test.each(protocolNames)("answers over %s with the entries and the next page's token", async (protocol) => {
    await using served = await serveFake();
    const logs = [create(LogEntrySchema, { msg: "é\u0000", level: -4, seq: 7n })];
    served.controller.put("a", { state: StateRunning, logs });
    const page = await served.client(protocol).listTaskLogs({ ...task, minLevel: -4, afterSeq: 6n });
    expect(page).toMatchObject({ entries: [{ msg: "é\u0000", level: -4, seq: 7n }], nextPageToken: "more" });
    expect(served.controller.logReads).toEqual([{ pageSize: 100, pageToken: undefined, minLevel: -4, afterSeq: 6n }]);
  });

  test("asks for pages of 100 entries, and never of more than 1,000; a level of 0 is one", async () => {
    await using served = await serveFake();
    served.controller.put("a", { state: StateRunning });
    for (const pageSize of [0, 1, 1_000, 1_001, 4_000_000_000])
      await served.client().listTaskLogs({ ...task, pageSize, minLevel: 0 });
    expect(served.controller.logReads.map((read) => read.pageSize)).toEqual([100, 1, 1_000, 1_000, 1_000]);
    expect(served.controller.logReads[0]?.minLevel).toBe(0);
    await served.client().listTaskLogs(task);
    expect(served.controller.logReads.at(-1)?.minLevel).toBeUndefined();
  });

  test("says behind which entries a damaged log goes on", async () => {
    await using served = await serveFake();
    const metadata = { after_seq: "20" };
    served.controller.failure = new ControllerError("DATA_LOSS", "damaged", { reason: "CORRUPT", metadata });
    expect(await callError(served.client().listTaskLogs(task))).toMatchObject({
      code: "DataLoss",
      reason: "CORRUPT",
      metadata,
    });
  });
});
