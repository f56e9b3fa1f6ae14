import { expect, test } from "vitest";
import { createAvailability } from "../../src/rpc/availability.ts";
import { ControllerError } from "../../src/controller/error.ts";
import { Faults } from "../../src/faults.ts";
import { LaunchGate, type Launching, type Leave } from "../../src/rpc/launch-gate.ts";
import { createFakeClock } from "../support/fake-clock.ts";

const limit = "RESOURCE_EXHAUSTED LIMIT 1000";
/** A call with much time. */
const patient = (): Launching => ({
  method: { name: "LaunchTask" },
  signal: new AbortController().signal,
  timeoutMs: () => 30_000,
});

function createGate(max: number) {
  const clock = createFakeClock();
  const availability = createAvailability();
  availability.enter("serving");
  const faults = new Faults();
  return { clock, availability, faults, gate: new LaunchGate({ max, clock, availability, faults }) };
}

/** Launches that say when they have begun, and how they were refused. */
function openGate(max: number) {
  const { clock, availability, faults, gate } = createGate(max);
  const log: string[] = [];
  const leaves = new Map<string, Leave>();
  return {
    clock,
    availability,
    faults,
    log,
    settle: () => clock.advance(0),
    leave: (name: string, count?: number) => leaves.get(name)?.(count),
    enter(name: string, count = 1, call = patient()): void {
      gate.enter(count, call).then(
        (leave) => {
          leaves.set(name, leave);
          log.push(name);
        },
        (error: Error) => void log.push(`${name}: ${kindOf(error)}`),
      );
    },
  };
}

function kindOf(error: Error): string {
  const cause = error instanceof ControllerError ? error : error.cause;
  if (!(cause instanceof ControllerError)) return error.message;
  return [cause.code, cause.details.reason, cause.details.retryDelayMs].join(" ");
}

test("so many launches begin at once, and the others when those before them are done, in order", async () => {
  const { enter, settle, leave, log } = openGate(2);
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

test("a batch counts as many as it has, waits for room for all of them, and is not passed by", async () => {
  const { enter, settle, leave, log } = openGate(10);
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
  const { enter, settle, leave, log } = openGate(10);
  enter("batch", 1_000);
  enter("a");
  await settle();
  expect(log).toEqual(["batch"]);
  leave("batch");
  await settle();
  expect(log).toEqual(["batch", "a"]);
});

test("a batch leaves by and by: what it gives back others take, once, and one of its size when it has gone", async () => {
  const { enter, settle, leave, log } = openGate(10);
  enter("batch", 1_000);
  for (const name of ["a", "b", "c"]) enter(name);
  enter("next", 1_000);
  await settle();
  leave("batch", 990);
  await settle();
  expect(log).toEqual(["batch"]);
  leave("batch", 1);
  leave("batch", 1);
  await settle();
  expect(log).toEqual(["batch", "a", "b"]);
  // More than it has left.
  leave("batch", 500);
  leave("batch");
  leave("batch", 1);
  leave("a");
  leave("b");
  await settle();
  expect(log).toEqual(["batch", "a", "b", "c"]);
  leave("c");
  await settle();
  expect(log.at(-1)).toBe("next");
});

test("a few launches begin in each turn of the event loop, however many there is room for", async () => {
  const { enter, log, settle } = openGate(100);
  for (let i = 0; i < 25; i += 1) enter(`${i}`);
  await Promise.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  expect(log).toEqual(Array.from({ length: 10 }, (_, i) => `${i}`));
  await settle();
  expect(log).toHaveLength(25);
});

test("who leaves while it waits takes no place, and lets those behind it go on", async () => {
  const { clock, enter, settle, log } = openGate(10);
  const caller = new AbortController();
  enter("a", 5);
  enter("batch", 10, { ...patient(), signal: caller.signal });
  enter("b", 5);
  await settle();
  expect(log).toEqual(["a"]);
  caller.abort();
  await settle();
  expect(log.slice(1).sort()).toEqual(["b", "batch: [canceled] the call was canceled"].sort());
  expect(clock.pending()).toBe(0);
});

test("whose caller has left already does not wait, and nobody waits for it", async () => {
  const { enter, settle, leave, log } = openGate(1);
  enter("a");
  enter("left", 1, { ...patient(), signal: AbortSignal.abort() });
  enter("b");
  await settle();
  expect(log.slice().sort()).toEqual(["a", "left: [canceled] the call was canceled"]);
  leave("a");
  await settle();
  expect(log.at(-1)).toBe("b");
});

test("a call that is over when its turn comes begins nothing, and makes room", async () => {
  const { enter, settle, log } = openGate(1);
  const over = new Error("the call is over");
  enter("over", 1, { ...patient(), endsItself: true, endedWith: over as never });
  await settle();
  enter("next");
  await settle();
  expect(log).toEqual(["over: the call is over", "next"]);
});

test("while the server cannot serve nobody waits: they are told so at once", async () => {
  const { availability, enter, settle, leave, log } = openGate(1);
  for (const name of ["a", "b", "c"]) enter(name);
  await settle();
  availability.setStoreHealthy(false);
  await settle();
  const refused = "UNAVAILABLE STORE_UNAVAILABLE 500";
  expect(log).toEqual(["a", `b: ${refused}`, `c: ${refused}`]);
  availability.setStoreHealthy(true);
  leave("a");
  enter("d");
  await settle();
  expect(log.at(-1)).toBe("d");
});

test("a burst is taken at once and served, whatever it waits, and no line is longer than 32 times what is inside", async () => {
  const { enter, settle, leave, log, faults } = openGate(2);
  for (let i = 0; i < 2 + 64; i += 1) enter(`${i}`);
  enter("more");
  await settle();
  expect(log).toEqual([`more: ${limit}`, "0", "1"]);
  expect(faults.counts().calls_refused).toBe(1);
  for (let i = 0; i < 66; i += 1) {
    leave(`${i}`);
    await settle();
  }
  expect(log.slice(3)).toEqual(Array.from({ length: 64 }, (_, i) => `${i + 2}`));
});

test("eight times as many as are inside may wait for a runner, and the next keeps its place and is refused, and counted", async () => {
  const { gate, faults, clock } = createGate(2);
  const enter = async (): Promise<Leave> => {
    const entering = gate.enter(1, patient());
    await clock.advance(0);
    return entering;
  };
  const parked: Array<() => void> = [];
  for (let i = 0; i < 16; i += 1) parked.push(gate.park(await enter(), 1, patient()));
  const leave = await enter();
  const info = { metadata: { limit: "launches_at_once_max", value: "2" } };
  expect(() => gate.park(leave, 1, patient())).toThrow(
    expect.objectContaining({
      rawMessage: expect.stringContaining("too many launches wait") as unknown,
      details: expect.arrayContaining([
        expect.objectContaining({ value: expect.objectContaining(info) as unknown }),
      ]) as unknown,
    }),
  );
  expect(faults.counts().calls_refused).toBe(1);
  parked[0]?.();
  expect(() => gate.park(leave, 1, patient())).not.toThrow();
});
