/** docs/protocol.md's commands, as they are pasted into one terminal: grpcurl is a runner. Needs grpcurl on the PATH. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { describe, expect, test } from "vitest";
import { TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { startServer } from "../../src/server/start-server.ts";
import { StateCanceled, StateCompleted } from "../../src/task/state.ts";
import { readBlocks } from "../support/doc-blocks.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { type Message, parseMessages } from "./grpcurl.ts";

const run = promisify(execFile);
const letter = { controller: "by-hand", taskId: "letter" };

/** Pastes the blocks; resolves to what was printed, and to the client of the server that they ran against. */
async function paste(...blocks: readonly string[]) {
  await using scratch = await makeScratchDirectory();
  const server = await startServer({ listen: "127.0.0.1:0", store: "memory:" });
  try {
    // People wait until something is printed, which takes longer on a busy machine.
    const script = blocks.join("").replaceAll("localhost:7846", server.address).replaceAll("sleep 1\n", "sleep 3\n");
    const { stdout } = await run("bash", ["-euc", script], { cwd: scratch.path, timeout: 60_000 });
    const client = createClient(TaskControllerService, createGrpcTransport({ baseUrl: `http://${server.address}` }));
    const { status } = await client.getTaskStatus(letter);
    const { entries } = await client.listTaskLogs(letter);
    return { heard: parseMessages(stdout), status, entries };
  } finally {
    await server.close({ graceMs: 0 });
  }
}

/** What a message says, such as "offer RUN_PHASE_PENDING". */
function summary(message: Message): string {
  const [kind = ""] = Object.keys(message as object);
  const { phase = "", seq = "", reason = "" } = message[kind] as Record<string, string>;
  return [kind, phase, seq, reason].filter((part) => part !== "").join(" ");
}

describe("by hand", { timeout: 120_000 }, () => {
  test("a task is taken, worked on and ended, and each step is answered", async () => {
    const { heard, status, entries } = await paste(...(await readBlocks("docs/protocol.md", "bash")));
    const answers = heard.map(summary).filter((text) => !text.startsWith("keepalive"));
    // What is said in one paste may be on disk together: the last of it is answered then, which answers all before.
    expect(answers.filter((text) => /^(welcome|offer|written)/.test(text) && text !== "written 2")).toEqual([
      "welcome",
      "offer RUN_PHASE_PENDING",
      "written 1",
      "offer RUN_PHASE_RUNNING",
      "written 3",
    ]);
    expect(status).toMatchObject({
      state: StateCompleted,
      result: '{"sent": true}',
      progress: { current: 1n, total: 2n },
    });
    expect(entries.map(({ msg }) => msg)).toEqual(["the envelope is addressed"]);
  });

  test("a cancel is printed until it is answered", async () => {
    const [connect, launch, take, , leave] = (await readBlocks("docs/protocol.md", "bash")) as string[];
    const cancel = `
grpcurl -plaintext -d '{"controller": "by-hand", "task_id": "letter"}' localhost:7846 stint.v1.TaskControllerService/CancelTask
sleep 8
echo '{"aborted": {'$task', "reason": "ABORT_REASON_CANCEL"}}' >&3
echo '{"end": {'$task', "seq": 2, "phase": "RUN_PHASE_RUNNING", "aborted": {}}}' >&3
sleep 1
`;
    const { heard, status } = await paste(connect ?? "", launch ?? "", take ?? "", cancel, leave ?? "");
    const aborts = heard.map(summary).filter((text) => text.startsWith("abort"));
    expect(new Set(aborts)).toEqual(new Set(["abort ABORT_REASON_CANCEL"]));
    expect(aborts.length).toBeGreaterThanOrEqual(2);
    expect(status).toMatchObject({ state: StateCanceled, cancel: { deliveredAt: {}, acknowledgedAt: {} } });
  });
});
