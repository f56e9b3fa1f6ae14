/**
 * The store fails at its n-th operation, for every n, in each of the scenarios, in each of the ways that
 * test/support/fault-store.ts knows, once and for good: nothing that was acknowledged is lost, nothing that is written is
 * wrong, and everything goes on once the store works again, within five seconds.
 *
 * The operations are those of the seam (get, scan, commit, next of a watch), of opening the controller on; those of
 * reopening fail after them. (What a store does when it is itself opened is its own: test/store.)
 *
 * FAULTS: in how many of the ways each operation fails. By default one, each n in another, which looks at every
 * operation; "all" is the whole promise, every n in every way. FAULT_SCENARIO: only the scenarios with this in their names.
 */
import { afterAll, describe, expect, test } from "vitest";
import { sleep } from "../../src/clock.ts";
import type { Fault, FaultOperation } from "../support/fault-store.ts";
import { complaintsOf } from "./faults-check.ts";
import { type Scenario, scenarios } from "./faults-scenarios.ts";
import { World } from "./faults-world.ts";

interface Way {
  readonly name: string;
  faults(at: number): Fault[];
}

const ways: readonly Way[] = [
  { name: "is refused once", faults: (at) => [{ at, kind: "refused" }] },
  { name: "is done, and reported as an error", faults: (at) => [{ at, kind: "applied" }] },
  { name: "is not done, and nobody knows", faults: (at) => [{ at, kind: "lost" }] },
  { name: "hangs, and is not done", faults: (at) => [{ at, kind: "hang" }] },
  { name: "hangs, and is done at last", faults: (at) => [{ at, kind: "late" }] },
  { name: "and all after it are refused, for good", faults: (at) => [{ at, kind: "refused", lasting: true }] },
  {
    name: "is done and reported as an error, and all after it are refused, for good",
    faults: (at) => [{ at, kind: "applied", lasting: true }],
  },
  { name: "hangs, and all after it are refused, for good", faults: (at) => [{ at, kind: "hang", lasting: true }] },
  {
    name: "is lost, and the two reopenings after it fail",
    faults: (at) => [
      { at, kind: "lost" },
      { at: 1, of: "reopen", kind: "refused" },
      { at: 2, of: "reopen", kind: "applied" },
    ],
  },
  {
    name: "is lost, and the reopening after it hangs",
    faults: (at) => [
      { at, kind: "lost" },
      { at: 1, of: "reopen", kind: "hang" },
    ],
  },
  {
    name: "is done and reported as an error, and the process dies in the reopening after it",
    faults: (at) => [
      { at, kind: "applied" },
      { at: 1, of: "reopen", kind: "crash after" },
    ],
  },
  { name: "is the last of the process", faults: (at) => [{ at, kind: "crash" }] },
  { name: "is done and is the last of the process", faults: (at) => [{ at, kind: "crash after" }] },
];

const dose = process.env["FAULTS"] ?? "1";
const waysEach = dose === "all" ? ways.length : Number(dose);
const only = process.env["FAULT_SCENARIO"] ?? "";
/** The usual dose takes a second for each scenario. */
const timeout = dose === "1" ? 180_000 : 7_200_000;

/** The ways in which operation `at` fails. */
function waysAt(at: number): Way[] {
  return Array.from({ length: waysEach }, (_, i) => ways[(at + i) % ways.length] as Way);
}

/** What was injected, by operation and kind, in all scenarios. */
const injected = new Map<FaultOperation, Map<string, number>>();

/** How often a scenario was played with a fault, and what it took until the controller answered again. */
const played = { runs: 0, recoveries: 0, longestMs: 0 };
afterAll(() => {
  const { runs, recoveries, longestMs } = played;
  const healed = `${recoveries} recoveries in ${longestMs} ms of the clock at most`;
  const kinds = [...injected].map(
    ([operation, each]) => `${operation} ${[...each.values()].reduce((sum, n) => sum + n, 0)}`,
  );
  process.stderr.write(`faults of the store: ${runs} runs, FAULTS=${dose}: ${kinds.join(", ")}; ${healed}\n`);
});

interface Case {
  readonly scenario: Scenario;
  /** The runner has a pending phase; without one its runs start with their launches. */
  readonly prepares: boolean;
}

const cases: readonly Case[] = scenarios
  .filter(({ name }) => name.includes(only))
  .flatMap((scenario) => (scenario.prepares ? [true] : [true, false]).map((prepares) => ({ scenario, prepares })));

interface Played {
  readonly world: World;
  /** Up to the scenario's end. */
  readonly operations: number;
}

/** Plays a scenario to its end and beyond it; throws when anything is not as it must be. */
async function play({ scenario, prepares }: Case, faults: readonly Fault[]): Promise<Played> {
  const world = new World(faults, prepares);
  await world.drive(world.open(scenario.options));
  await world.drive(scenario.run(world));
  const { operations } = world.plan;
  // Once the store works, everything goes on.
  await world.drive(probe(world));
  await world.drive(world.settled());
  await world.drive(world.close());
  const revision = world.inner.revision();
  await world.clock.advance(60_000);
  expect(world.inner.revision(), "a closed controller writes nothing").toBe(revision);
  expect(world.clock.pending(), "timers left").toBe(0);
  expect(await complaintsOf(world)).toEqual([]);
  return { world, operations };
}

async function probe(world: World): Promise<void> {
  await world.launch("probe", { steps: 1 });
  await world.untilEnded("probe");
  // What nobody waits for is done by then too: the runner is told, old log entries are removed.
  await sleep(world.clock, 5_000);
}

/** What went wrong when operation `at` of the scenario fails. */
async function failuresAt(each: Case, at: number): Promise<string[]> {
  const failures: string[] = [];
  for (const way of waysAt(at)) {
    try {
      const { world } = await play(each, way.faults(at));
      played.runs += 1;
      played.recoveries += world.recoveriesMs.length;
      played.longestMs = Math.max(played.longestMs, ...world.recoveriesMs);
      if (world.plan.injected.length === 0) failures.push(`operation ${at} did not fail: ${way.name}`);
      // A process that dies may not have heard of its last fault, and who watches through the store himself has no controller that counts.
      const isSeen =
        !/process dies|through the store/.test(each.scenario.name) &&
        world.plan.injected.some(({ kind }) => ["refused", "applied", "lost"].includes(kind));
      const { storage_errors: errors } = world.faults.counts();
      if (isSeen && errors === 0) failures.push(`operation ${at} ${way.name}: no fault was counted`);
      for (const { operation, kind } of world.plan.injected) {
        const kinds = injected.get(operation) ?? new Map<string, number>();
        injected.set(operation, kinds.set(kind, (kinds.get(kind) ?? 0) + 1));
      }
    } catch (error) {
      failures.push(`operation ${at} ${way.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return failures;
}

describe("failing the n-th store operation, once and for good, breaks no promise, and everything goes on afterwards", () => {
  for (const each of cases) {
    test(`when ${each.scenario.name}${each.prepares ? "" : ", with runs that start at once"}`, {
      timeout,
    }, async () => {
      const { world, operations } = await play(each, []);
      expect(operations, "operations of the store").toBeGreaterThan(20);
      expect(world.runs).toBeGreaterThan(0);
      const failures: string[] = [];
      for (let at = 1; at <= operations; at += 1) failures.push(...(await failuresAt(each, at)));
      expect(failures).toEqual([]);
    });
  }

  // A run that injects nothing proves nothing.
  test.runIf(only === "")("and all of them did fail, in all of the ways", () => {
    const all = ["refused", "applied", "lost", "hang", "late", "crash", "crash after"];
    const due: Record<FaultOperation, string[]> = {
      get: all,
      scan: all,
      commit: all,
      // Of these there are fewer than ways.
      watch: waysEach < ways.length ? [] : all,
      reopen: ["refused", "applied", "hang", "crash after"],
    };
    expect(played.recoveries).toBeGreaterThan(played.runs / 10);
    for (const [operation, kinds] of Object.entries(due) as Array<[FaultOperation, string[]]>) {
      expect(injected.get(operation)?.size ?? 0, operation).toBeGreaterThan(0);
      for (const kind of kinds) {
        expect(injected.get(operation)?.get(kind) ?? 0, `${operation}: ${kind}`).toBeGreaterThan(0);
      }
    }
  });
});
