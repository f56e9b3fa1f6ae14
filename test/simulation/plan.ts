/** What happens in a world: what its clients do, which faults there are and when, all of it small enough to shrink. One seed decides the rest. */
import fc from "fast-check";

/** What a client does; it waits for the answer before it goes on. */
export const opKinds = [
  "launch",
  "launch many",
  "launch unless active",
  "cancel",
  "delete",
  "get",
  "wait",
  "list",
  "watch",
  "watch all",
] as const;
export type OpKind = (typeof opKinds)[number];

export interface PlannedOp {
  readonly client: number;
  readonly atMs: number;
  readonly kind: OpKind;
  readonly task: number;
  /** How often it is tried while the answer is that it failed, or none. */
  readonly tries: number;
  readonly work: PlannedWork;
}

/** What a launched task's runner does. */
export interface PlannedWork {
  readonly steps: number;
  readonly stepMs: number;
  readonly fails: boolean;
  /** How long it goes on when it is told to stop. */
  readonly deafMs: number;
}

/** The classes of fault; a world may be without any of them. */
export const faultKinds = [
  "refused",
  "lost",
  "applied",
  "hang",
  "full",
  "slow",
  "crash",
  "power cut",
  "rot",
  "close",
  "pause",
  "cut",
  "loss",
  "jump",
  "runner crash",
  "runner pause",
  "void",
  "years",
] as const;
export type FaultKind = (typeof faultKinds)[number];

export interface PlannedFault {
  readonly kind: FaultKind;
  readonly atMs: number;
  /** How long it lasts, or the process is away. */
  readonly ms: number;
  /** Which runner, or task, for what concerns one. */
  readonly which: number;
}

export interface Plan {
  readonly seed: number;
  /** Faults are over after this, and everything comes to its end. */
  readonly healMs: number;
  /** Runs are on remote runners, so many; 0: in the server itself. */
  readonly runners: number;
  /** How many tasks run at one time, on each runner where there are some. */
  readonly concurrency: number;
  /** The runner in the server has a pending phase; without one its runs start with their launches. */
  readonly prepares: boolean;
  readonly clients: number;
  readonly tasks: number;
  /** How long the store keeps history. */
  readonly historyMs: number;
  /** How long a task is kept that has ended. */
  readonly retentionMs: number;
  /** How long a closing server waits. */
  readonly graceMs: number;
  /** Everything that has a bound has a small one. */
  readonly isTight: boolean;
  /** Faults of these classes do not happen. */
  readonly without: readonly FaultKind[];
  readonly ops: readonly PlannedOp[];
  readonly faults: readonly PlannedFault[];
}

/** Of remote runners; short enough to be over while faults last. */
export const leaseMs = 5_000;

export const keptForEver = 365 * 24 * 3_600_000;

/** Moments on a grid: what happens at one time is what goes wrong. */
const gridMs = 300;

const below = (max: number): fc.Arbitrary<number> => fc.noBias(fc.nat({ max: max - 1 }));

/** How much there is in a world at most. */
interface Size {
  readonly healMs: number;
  readonly runners: number;
  readonly clients: number;
  readonly tasks: number;
  readonly ops: number;
  readonly faults: number;
}

/** How much of its time in the world a step of a task takes at most. */
const stepPart = 7;

function plansOf(size: Size): fc.Arbitrary<Plan> {
  const moment = below(size.healMs / gridMs).map((nth) => nth * gridMs);
  const work = fc.record({
    steps: below(6),
    stepMs: fc.noBias(fc.integer({ min: 5, max: Math.floor(size.healMs / stepPart) })),
    fails: fc.constantFrom(false, false, false, true),
    deafMs: fc.oneof(fc.constant(0), below(3_000)),
  });
  const op = fc.record({
    client: below(size.clients),
    atMs: moment,
    // What makes tasks, and what looks at them, is more often than what takes them away.
    kind: fc.constantFrom<OpKind>(...opKinds, "launch", "launch", "launch", "get", "watch", "watch", "cancel"),
    task: below(size.tasks),
    tries: fc.noBias(fc.integer({ min: 1, max: 8 })),
    work,
  });
  const fault = fc.record({
    kind: fc.constantFrom(...faultKinds),
    atMs: moment,
    ms: fc.noBias(fc.integer({ min: 1, max: 4_000 })),
    which: below(6),
  });
  return fc.record({
    seed: fc.noBias(fc.nat()),
    healMs: fc.constant(size.healMs),
    // In the server itself twice as often as on one, and as on two.
    runners: fc.constantFrom(0, 0, ...Array.from({ length: size.runners }, (_, i) => i + 1)),
    concurrency: fc.integer({ min: 1, max: 4 }),
    prepares: fc.boolean(),
    clients: fc.integer({ min: 2, max: size.clients }),
    tasks: fc.integer({ min: 1, max: size.tasks }),
    historyMs: fc.constantFrom(3_600_000, 3_000),
    retentionMs: fc.constantFrom(keptForEver, keptForEver, 2_000),
    graceMs: fc.constantFrom(30_000, 500),
    isTight: fc.constantFrom(false, false, true),
    without: fc.noBias(fc.subarray([...faultKinds])),
    ops: fc.array(op, { minLength: 1, maxLength: size.ops, size: "max" }),
    faults: fc.array(fault, { maxLength: size.faults, size: "max" }),
  });
}

const small = plansOf({ healMs: 1_500, runners: 2, clients: 2, tasks: 2, ops: 6, faults: 4 });
const middling = plansOf({ healMs: 7_500, runners: 3, clients: 3, tasks: 4, ops: 15, faults: 8 });
const large = plansOf({ healMs: 15_000, runners: 3, clients: 8, tasks: 6, ops: 60, faults: 25 });
/** In the time of one large world there are eight small ones, and what takes few things to go wrong goes wrong in them sooner. */
const any = fc.oneof(
  { weight: 34, arbitrary: small },
  { weight: 4, arbitrary: middling },
  { weight: 1, arbitrary: large },
);
const sizes = { small, middling, large, any };

export function isSize(name: string): name is keyof typeof sizes {
  return Object.hasOwn(sizes, name);
}

/** Plans as fast-check makes them, and makes them smaller. Leases lapse in worlds of a middling size at least. */
export function plansOfSize(size: keyof typeof sizes): fc.Arbitrary<Plan> {
  return sizes[size];
}

/** A plan on one line, for SIM_REPLAY. */
export function encodePlan(plan: Plan): string {
  return Buffer.from(JSON.stringify(plan)).toString("base64url");
}

export function decodePlan(text: string): Plan {
  return JSON.parse(Buffer.from(text, "base64url").toString()) as Plan;
}
