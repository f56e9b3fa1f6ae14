/**
 * The store fails at its n-th operation, for every n, in each of the scenarios, in each of the ways that
 * test/support/fault-store.ts knows: nothing that was acknowledged is lost, nothing that is written is wrong, and
 * everything goes on once the store works again.
 *
 * FAULT_STRIDE: only every so many-th n (default 4; 1 is all). FAULT_SCENARIO: only the scenarios with this in their names.
 */
import { describe, expect, test } from "vitest";
import { sleep } from "../../src/clock.ts";
import type { Fault } from "../support/fault-store.ts";
import { complaintsOf } from "./faults-check.ts";
import { type Scenario, scenarios } from "./faults-scenarios.ts";
import { World } from "./faults-world.ts";

const stride = Number(process.env["FAULT_STRIDE"] ?? 4);
const only = process.env["FAULT_SCENARIO"] ?? "";

const ways: ReadonlyArray<{ readonly name: string; faults(at: number): Fault[] }> = [
  { name: "is refused once", faults: (at) => [{ at, kind: "refused" }] },
  { name: "is done, and reported as an error", faults: (at) => [{ at, kind: "applied" }] },
  { name: "is not done, and nobody knows", faults: (at) => [{ at, kind: "lost" }] },
  { name: "hangs", faults: (at) => [{ at, kind: "hang" }] },
  {
    name: "and all after it are refused, until the store is healed",
    faults: (at) => [{ at, kind: "refused", lasting: true }],
  },
  {
    name: "is done, and all after it are refused, until the store is healed",
    faults: (at) => [{ at, kind: "applied", lasting: true }],
  },
  {
    name: "is lost, and the two reopenings after it fail",
    faults: (at) => [
      { at, kind: "lost" },
      { at: 1, of: "reopen", kind: "refused" },
      { at: 2, of: "reopen", kind: "applied" },
    ],
  },
  { name: "is the last of the process", faults: (at) => [{ at, kind: "crash" }] },
  { name: "is done and is the last of the process", faults: (at) => [{ at, kind: "crash after" }] },
];

/** Plays a scenario to its end and beyond it; throws when anything is not as it must be. */
async function play(scenario: Scenario, faults: readonly Fault[]): Promise<World> {
  const world = new World(faults);
  await world.drive(world.open(scenario.options));
  await world.drive(scenario.run(world));
  // Once the store works, everything goes on.
  await world.drive(probe(world));
  await world.drive(world.settled());
  await world.drive(world.close());
  const revision = world.inner.revision();
  await world.clock.advance(60_000);
  expect(world.inner.revision(), "a closed controller writes nothing").toBe(revision);
  expect(world.clock.pending(), "timers left").toBe(0);
  expect(await complaintsOf(world)).toEqual([]);
  return world;
}

async function probe(world: World): Promise<void> {
  for (const taskId of ["probe-1", "probe-2", "probe-3"]) {
    await world.launch(taskId, { steps: 1 });
    await world.untilEnded(taskId);
  }
  // What nobody waits for is done by then too: the runner is told, old log entries are removed.
  await sleep(world.clock, 5_000);
}

describe("failing the n-th store operation, once and for good, breaks no promise, and everything goes on afterwards", () => {
  for (const scenario of scenarios.filter(({ name }) => name.includes(only))) {
    test(`when ${scenario.name}`, { timeout: 600_000 }, async () => {
      const sound = await play(scenario, []);
      const operations = sound.plan.operations;
      expect(operations, "operations of the store").toBeGreaterThan(20);
      expect(sound.runs).toBeGreaterThan(0);
      const injected = new Map<string, number>();
      const failures: string[] = [];
      for (const [offset, way] of ways.entries()) {
        // Each way begins elsewhere, so that a stride looks at all operations in one way or another.
        for (let at = 1 + (offset % stride); at <= operations; at += stride) {
          try {
            const world = await play(scenario, way.faults(at));
            for (const { kind } of world.plan.injected) injected.set(kind, (injected.get(kind) ?? 0) + 1);
          } catch (error) {
            failures.push(`operation ${at} ${way.name}: ${error instanceof Error ? error.message : String(error)}`);
          }
        }
      }
      expect(failures).toEqual([]);
      // A run that injects nothing proves nothing.
      const each = Math.floor(operations / stride) - 1;
      for (const kind of ["refused", "applied", "lost", "hang", "crash", "crash after"]) {
        expect(injected.get(kind), kind).toBeGreaterThanOrEqual(each);
      }
    });
  }
});
