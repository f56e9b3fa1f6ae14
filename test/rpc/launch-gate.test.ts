import { expect, test } from "vitest";
import { LaunchGate } from "../../src/rpc/launch-gate.ts";
import { callError } from "../support/call-error.ts";
import { eventually } from "../support/eventually.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { serveFake } from "../support/served-fake.ts";

/** Launches that say when they have begun, and how they were refused. */
function openGate(max: number) {
  const clock = createFakeClock();
  const gate = new LaunchGate(max, clock);
  const log: string[] = [];
  const leaves = new Map<string, () => void>();
  return {
    clock,
    gate,
    log,
    leave: (name: string) => leaves.get(name)?.(),
    enter(name: string, count = 1, signal = new AbortController().signal): void {
      gate.enter(count, signal).then(
        (leave) => {
          leaves.set(name, leave);
          log.push(name);
        },
        (error: { code: unknown; details?: { reason?: string; retryDelayMs?: number } }) => {
          const { reason = "", retryDelayMs = 0 } = error.details ?? {};
          log.push(`${name}: ${[error.code, reason, retryDelayMs].join(" ")}`);
        },
      );
    },
  };
}

const settle = () => new Promise((resolve) => setImmediate(resolve));
const limit = "RESOURCE_EXHAUSTED LIMIT 1000";

test("so many launches begin at once, and the others when those before them are done, in order", async () => {
  const { enter, leave, log } = openGate(2);
  for (const name of ["a", "b", "c", "d", "e"]) enter(name);
  await settle();
  expect(log).toEqual(["a", "b"]);
  leave("b");
  await settle();
  expect(log).toEqual(["a", "b", "c"]);
  // Once only: a launch that says twice that it is done makes no room for two.
  leave("b");
  leave("a");
  leave("c");
  await settle();
  expect(log).toEqual(["a", "b", "c", "d", "e"]);
});

test("who need not wait can enter at once, and who would have to passes by nobody", async () => {
  const { gate, enter, leave, log } = openGate(2);
  const first = gate.tryEnter(1);
  expect(first).toBeDefined();
  expect(gate.tryEnter(2)).toBeUndefined();
  enter("batch", 2);
  expect(gate.tryEnter(1)).toBeUndefined();
  first?.();
  await settle();
  expect(log).toEqual(["batch"]);
  leave("batch");
  expect(gate.tryEnter(1)).toBeDefined();
});

test("a batch counts as many as it has, waits for room for all of them, and is not passed by", async () => {
  const { enter, leave, log } = openGate(10);
  enter("a");
  enter("batch", 10);
  enter("b");
  await settle();
  expect(log).toEqual(["a"]);
  leave("a");
  await settle();
  expect(log).toEqual(["a", "batch"]);
  leave("batch");
  await settle();
  expect(log).toEqual(["a", "batch", "b"]);
});

test("a batch of more than there is room for goes alone", async () => {
  const { enter, leave, log } = openGate(10);
  enter("batch", 1_000);
  enter("a");
  await settle();
  expect(log).toEqual(["batch"]);
  leave("batch");
  await settle();
  expect(log).toEqual(["batch", "a"]);
});

test("who has waited for 2 s is refused with a time to try again, and who would make too many wait at once", async () => {
  const { clock, enter, leave, log } = openGate(2);
  enter("a", 2);
  for (let i = 0; i < 8; i += 1) enter(`w${i}`);
  enter("more");
  await settle();
  expect(log).toEqual(["a", `more: ${limit}`]);
  await clock.advance(1_999);
  expect(log).toHaveLength(2);
  await clock.advance(1);
  expect(log.slice(2)).toEqual(Array.from({ length: 8 }, (_, i) => `w${i}: ${limit}`));
  leave("a");
  enter("b");
  await settle();
  expect(log.at(-1)).toBe("b");
  expect(clock.pending()).toBe(0);
});

test("who leaves while it waits takes no place, and lets those behind it go on", async () => {
  const { clock, enter, log } = openGate(10);
  const caller = new AbortController();
  enter("a", 5);
  enter("batch", 10, caller.signal);
  enter("b", 5);
  await settle();
  expect(log).toEqual(["a"]);
  caller.abort();
  await settle();
  expect(log.slice(1).sort()).toEqual(["b", `batch: 1  0`].sort());
  expect(clock.pending()).toBe(0);
});

test("a call that is over begins nothing", async () => {
  const gate = new LaunchGate(1, createFakeClock());
  await expect(gate.enter(1, AbortSignal.abort())).rejects.toMatchObject({
    message: expect.stringContaining("canceled"),
  });
});

test("launches of a server wait for each other, in calls and in batches, and are refused when they have waited too long", async () => {
  await using served = await serveFake({ limits: { launchesAtOnceMax: 2 } });
  const { controller } = served;
  let go = (): void => {};
  controller.gate = new Promise((resolve) => (go = resolve));
  const client = served.client();
  const launch = (taskId: string) => client.launchTask({ controller: "countdown", taskId });
  const first = [launch("a"), launch("b")];
  await eventually(() => expect(controller.callCount).toBe(2));
  const waiting = [
    launch("c"),
    client.batchLaunchTasks({ requests: ["d", "e"].map((taskId) => ({ controller: "countdown", taskId })) }),
  ];
  const refused = Promise.all(waiting.map((each) => callError(each)));
  expect(await refused).toMatchObject(Array(2).fill({ code: "ResourceExhausted", reason: "LIMIT", retries: true }));
  expect(controller.callCount).toBe(2);
  go();
  await Promise.all(first);
  await launch("f");
});
