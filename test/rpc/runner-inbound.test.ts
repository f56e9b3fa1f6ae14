import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { type RunRequest, RunnerWelcomeSchema, RunRequestSchema } from "#gen/stint/v1/runner_pb.js";
import type { Attachment } from "../../src/controller/remote-link.ts";
import { eachAlone, MessageReader } from "../../src/rpc/batches.ts";
import { readMessages } from "../../src/rpc/runner-inbound.ts";
import { createFakeClock } from "../support/fake-clock.ts";

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A runner that says all of `messages` as fast as it is read, and what becomes of that. */
function readAll(
  messages: readonly RunRequest[],
  options: { onDisk?: boolean; perSecond?: number; allowance?: number } = {},
) {
  const clock = createFakeClock();
  const stop = new AbortController();
  const open: Array<() => void> = [];
  const outcomes: string[] = [];
  const counts = { read: 0, received: 0, isHeldBack: false, pauses: 0 };
  async function* say() {
    for (const message of messages) {
      counts.read += 1;
      yield message;
    }
  }
  const attachment: Attachment = {
    welcome: create(RunnerWelcomeSchema),
    receive: () => {
      counts.received += 1;
      return options.onDisk === true ? undefined : new Promise((resolve) => open.push(resolve));
    },
    holdBack: (isHeldBack) => {
      counts.isHeldBack = isHeldBack;
      if (isHeldBack) counts.pauses += 1;
    },
    detach: () => {},
  };
  const { perSecond: messagesPerSecondMax = 1_000_000, allowance = 0 } = options;
  let left = allowance;
  const takeAllowance = (): boolean => (left -= 1) >= 0;
  readMessages(new MessageReader(eachAlone(say(), RunRequestSchema)), {
    attachment,
    clock,
    messagesPerSecondMax,
    takeAllowance,
    signal: stop.signal,
  }).then(
    () => outcomes.push("finished"),
    (error: Error) => outcomes.push(error.message),
  );
  return { clock, stop, open, counts, outcomes };
}

function writes(count: number, msg = "x"): RunRequest[] {
  return Array.from({ length: count }, (_, i) =>
    create(RunRequestSchema, {
      message: { case: "write", value: { taskId: "a", fence: 1n, seq: BigInt(i + 1), entries: [{ msg, level: 0 }] } },
    }),
  );
}

function keepalives(count: number): RunRequest[] {
  return Array.from({ length: count }, () => create(RunRequestSchema, { message: { case: "keepalive", value: {} } }));
}

/** Lets all that is ready go on. */
async function settle(): Promise<void> {
  for (let i = 0; i < 5; i += 1) await turn();
}

test("1,000 messages may be said and not be on disk yet; the reading goes on when half of them are", async () => {
  const { open, counts, outcomes } = readAll(writes(2_500));
  await settle();
  expect(counts).toMatchObject({ received: 1_000, isHeldBack: true });
  for (const done of open.splice(0, 499)) done();
  await settle();
  expect(counts).toMatchObject({ received: 1_000, isHeldBack: true });
  open.shift()?.();
  await settle();
  expect(counts).toMatchObject({ received: 1_500, isHeldBack: true, pauses: 2 });
  for (let i = 0; i < 10; i += 1) {
    for (const done of open.splice(0)) done();
    await settle();
  }
  expect([counts.received, outcomes]).toEqual([2_500, ["finished"]]);
});

test("the same holds for their bytes: 1 MiB of them", async () => {
  const { counts } = readAll(writes(100, "x".repeat(100 * 1024)));
  await settle();
  expect(counts).toMatchObject({ received: 11, isHeldBack: true });
});

test("what is done with at once is read at the rate that there is, and the lease stands still between", async () => {
  const { clock, counts } = readAll(keepalives(10_000), { onDisk: true, perSecond: 1_000 });
  await settle();
  // A second's worth at once, and what is too little to wait for.
  expect(counts).toMatchObject({ received: 1_050, isHeldBack: true });
  await clock.advance(1_000);
  await settle();
  expect(counts.received).toBeGreaterThanOrEqual(2_000);
  expect(counts.received).toBeLessThanOrEqual(2_050);
  expect(counts.pauses).toBeLessThanOrEqual(30);
});

test("what it has room for by its offers is read at once, and the rate is for all the rest", async () => {
  const { counts } = readAll(keepalives(10_000), { onDisk: true, perSecond: 1_000, allowance: 3_000 });
  await settle();
  expect(counts).toMatchObject({ received: 4_050, isHeldBack: true });
});

test("the end of the runner's side is the end when all that it had said is answered, and nothing is offered meanwhile", async () => {
  const { open, counts, outcomes } = readAll(writes(3));
  await settle();
  expect([counts.isHeldBack, outcomes]).toEqual([true, []]);
  for (const done of open) done();
  await settle();
  expect(outcomes).toEqual(["finished"]);
});

test("a message that breaks a rule is not passed on, and ends the reading", async () => {
  const bad = create(RunRequestSchema, { message: { case: "accept", value: { taskId: "a", fence: 1n } } });
  const { counts, outcomes } = readAll([...keepalives(2), bad, ...keepalives(2)], { onDisk: true });
  await settle();
  expect(counts).toMatchObject({ read: 3, received: 2 });
  expect(outcomes).toEqual([expect.stringContaining("accept.phase")]);
});

test.each([
  ["waits for the store", {}],
  ["waits for the rate", { onDisk: true, perSecond: 10 }],
])("a reading that %s ends with its stream", async (_, options) => {
  const { stop, clock, outcomes } = readAll(writes(5_000), options);
  await settle();
  stop.abort();
  await settle();
  expect(outcomes).toEqual(["[canceled] the call was canceled"]);
  expect(clock.pending()).toBe(0);
});
