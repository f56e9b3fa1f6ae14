import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { Faults } from "../../src/faults.ts";
import { createAvailability } from "../../src/rpc/availability.ts";
import { type CallContext, unaryCall } from "../../src/rpc/call.ts";
import { createStreamSlots } from "../../src/rpc/stream-slots.ts";

const left = new ConnectError("the call was canceled", Code.Canceled);
const method = { name: "LaunchTask" };

test.each<[string, Partial<CallContext>]>([
  ["by its signal", { signal: AbortSignal.abort(left) }],
  ["by itself, while its message was decompressed", { endsItself: true, endedWith: left }],
])("a call that is over %s before its method is called, is not made", async (_, context) => {
  const availability = createAvailability();
  availability.enter("serving");
  let calls = 0;
  const call = unaryCall({ availability, streams: createStreamSlots(1), faults: new Faults() }, async () => {
    calls += 1;
  });
  const signal = new AbortController().signal;
  const called = call(undefined, { method, signal, timeoutMs: () => undefined, ...context });
  await expect(called).rejects.toBe(left);
  expect(calls).toBe(0);
});
