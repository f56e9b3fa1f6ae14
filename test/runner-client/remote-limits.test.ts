/** What a runner says stays within the limits that its server has told. */
import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { TaskErrorSchema } from "#gen/core/v1/core_pb.js";
import { type RunRequest, RunRequestSchema } from "#gen/stint/v1/runner_pb.js";
import type { ToSession } from "../../src/runner-client/thread-messages.ts";
import { heldRunner, openHosted } from "./support/hosted-harness.ts";

const kib = 1024;

/** How long a message is on the wire; 0 for what is none. */
function bytesOf(message: ToSession): number {
  const said: RunRequest["message"] | undefined =
    message.type === "write"
      ? { case: "write", value: message.write }
      : message.type === "end"
        ? { case: "end", value: message.end }
        : undefined;
  return said === undefined ? 0 : toBinary(RunRequestSchema, create(RunRequestSchema, { message: said })).byteLength;
}

test.each([64 * kib, 128 * kib, 1_024 * kib])(
  "messages of up to %d bytes are long enough for a flood, and for what is as large as it may be",
  async (max) => {
    const { runner, held } = heldRunner();
    const h = openHosted(runner, { limits: { request_max_bytes: BigInt(max) } });
    await h.run(5n);
    const { task } = held;
    if (task === undefined) throw new Error("no task was run");
    const said = Array.from({ length: 300 }, (_, n) => task.addLogEntry("info", `${n} ${"x".repeat(16 * kib)}`));
    // One with a progress beside it.
    said.push(task.setProgress({ current: 1, message: "m".repeat(4 * kib), unit: "u".repeat(4 * kib) }));
    await h.settle();
    for (let seq = 2n; h.posted.length === Number(seq) - 1; seq += 1n) await h.answer(5n, seq);
    await Promise.all(said);
    const details = Object.fromEntries(
      Array.from({ length: 16 }, (_, n) => [`${n}`.padStart(kib, "k"), "v".repeat(kib)]),
    );
    const taskError = create(TaskErrorSchema, { message: "m".repeat(64 * kib), details });
    held.throw(Object.assign(new Error("large"), { taskError }));
    await h.settle();
    expect(h.said().at(-1)).toMatch(/^end \d+ failed$/);
    const lengths = h.posted.map(bytesOf);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(max);
    expect(lengths.length).toBeGreaterThan(10);
  },
);

test("a result for which there is no room in a message fails the task, and a smaller one does not", async () => {
  const outcomes: string[] = [];
  for (const bytes of [30 * kib, 33 * kib]) {
    const { runner, held } = heldRunner();
    const h = openHosted(runner, { limits: { request_max_bytes: BigInt(64 * kib) } });
    await h.run(5n);
    held.return("x".repeat(bytes));
    await h.settle();
    outcomes.push(...h.said());
  }
  expect(outcomes).toEqual(["end 2 done", "end 2 failed"]);
});
