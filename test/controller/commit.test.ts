/** The one way to disk: what it does with a store that fails, or does not know what became of a commit. */
import { describe, expect, test } from "vitest";
import { Lifetime } from "../../src/async/lifetime.ts";
import { closedMeanwhile, commit, type CommitMode, once } from "../../src/controller/commit.ts";
import { createStoreGuard } from "../../src/controller/store-guard.ts";
import { silentLog } from "../../src/log.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import { type Change, type Condition, type Store, StoreError } from "../../src/store/store.ts";
import { observed, refusal } from "../support/controller-harness.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { type FaultKind, FaultPlan, FaultStore } from "../support/fault-store.ts";

const one = new Uint8Array([1]);
const two = new Uint8Array([2]);

/** A store with a task, an entry and a counter, whose next commit fails so. */
async function openFailing(kind: FaultKind) {
  const clock = createFakeClock();
  const inner = await openMemoryStore({ clock });
  const revision = await inner.commit([
    { type: "put", key: "/task", value: one },
    { type: "put", key: "/payload", value: one },
    { type: "index", key: "/entry", value: one },
    { type: "add", key: "/count", delta: 1n },
  ]);
  const plan = new FaultPlan([{ at: 1, of: "commit", kind }]);
  const store = new FaultStore(inner, plan);
  const random = { id: () => "id", fraction: () => 0.5 };
  const guard = createStoreGuard({ store, clock, random, log: silentLog });
  const lifetime = new Lifetime(() => closedMeanwhile());
  return { clock, inner, plan, revision, core: { store, guard, lifetime } };
}

type Built = { changes: Change[]; conditions: Condition[] };

// What the controller commits, and by what it must know such a commit again.
const shapes: ReadonlyArray<[what: string, build: (revision: bigint) => Built]> = [
  [
    "a new version, with a payload that stays the same",
    (revision) => ({
      changes: [
        { type: "put", key: "/payload", value: one },
        { type: "put", key: "/task", value: two },
        { type: "add", key: "/count", delta: 1n },
      ],
      conditions: [{ key: "/task", revision }],
    }),
  ],
  [
    "a new version of the same bytes",
    (revision) => ({
      changes: [
        { type: "put", key: "/task", value: one },
        { type: "add", key: "/count", delta: 1n },
      ],
      conditions: [{ key: "/task", revision }],
    }),
  ],
  [
    "an entry beside a task",
    (revision) => ({
      changes: [
        { type: "unindex", key: "/entry" },
        { type: "index", key: "/other", value: two },
        { type: "add", key: "/count", delta: 1n },
      ],
      conditions: [{ key: "/task", revision }],
    }),
  ],
  [
    "the end of an entry",
    () => ({
      changes: [
        { type: "unindex", key: "/entry" },
        { type: "add", key: "/count", delta: 1n },
      ],
      conditions: [],
    }),
  ],
  [
    "a deletion",
    (revision) => ({
      changes: [
        { type: "add", key: "/count", delta: 1n },
        { type: "delete", key: "/task" },
      ],
      conditions: [{ key: "/task", revision }],
    }),
  ],
];

/** What a commit comes to: whether it was acknowledged, and whether it is on disk, counted by the counter. */
async function outcomeOf(kind: FaultKind, mode: CommitMode, build: (revision: bigint) => Built): Promise<string> {
  const { clock, inner, plan, revision, core } = await openFailing(kind);
  const { changes, conditions } = build(revision);
  const committing = observed(commit(core, changes, conditions, mode));
  await clock.advance(100);
  plan.heal();
  await clock.advance(5_000);
  const count = Buffer.from((await inner.get("/count"))?.value ?? []).readBigInt64BE() - 1n;
  if (committing.state() === "done") {
    const is = await committing.promise;
    expect(is, "the revision of the commit").toBe(revision + 1n);
    return `acknowledged, ${count} on disk`;
  }
  return `${(await refusal(committing.promise)).code}, ${count} on disk`;
}

describe.each(shapes)("a commit of %s", (_, build) => {
  test.each([
    // What fails, and what becomes of it where it is tried once, and where it is tried until it is done.
    ["refused", "UNAVAILABLE, 0 on disk", "acknowledged, 1 on disk"],
    ["lost", "UNAVAILABLE, 0 on disk", "acknowledged, 1 on disk"],
    ["hang", "UNAVAILABLE, 0 on disk", "acknowledged, 1 on disk"],
    ["late", "acknowledged, 1 on disk", "acknowledged, 1 on disk"],
    ["applied", "acknowledged, 1 on disk", "acknowledged, 1 on disk"],
  ] as const)("that is %s is told of as it is on disk, and is there once", async (kind, once, untilDone) => {
    expect(await outcomeOf(kind, "once", build)).toBe(once);
    expect(await outcomeOf(kind, "until-done", build)).toBe(untilDone);
  });
});

test("a commit that loses its race is a CONFLICT that changed nothing, also after a failure that left it in doubt", async () => {
  for (const kind of ["refused", "lost"] as const) {
    const { clock, inner, core, revision } = await openFailing(kind);
    const change: Change = { type: "put", key: "/task", value: two };
    const committing = observed(commit(core, [change], [{ key: "/task", revision }], "until-done"));
    const newest = await inner.commit([{ type: "put", key: "/task", value: new Uint8Array([3]) }]);
    await clock.advance(5_000);
    await expect(committing.promise).rejects.toBeInstanceOf(StoreError);
    await expect(committing.promise).rejects.toMatchObject({ code: "CONFLICT", key: "/task" });
    expect((await inner.get("/task"))?.revision).toBe(newest);
  }
});

/** The store, which throws the first time that it is asked for `what`, instead of rejecting. */
function throwingOnce(store: Store, what: "get" | "commit"): Store {
  let hasThrown = false;
  return new Proxy(store, {
    get(target, name): unknown {
      if (name === what && !hasThrown) {
        hasThrown = true;
        return () => {
          throw new StoreError("UNAVAILABLE", "thrown at once");
        };
      }
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

describe("a store that throws where it is to reject has failed no less, and is brought back", () => {
  test("in a read", async () => {
    const { clock, inner, core } = await openFailing("refused");
    const store = throwingOnce(inner, "get");
    const error = await refusal(once({ ...core, store }, () => store.get("/task")));
    expect([error.code, error.details.reason, core.guard.healthy]).toEqual(["UNAVAILABLE", "STORE_UNAVAILABLE", false]);
    await clock.advance(5_000);
    expect(core.guard.healthy).toBe(true);
  });

  test("in a commit", async () => {
    const { clock, inner, core } = await openFailing("refused");
    const change: Change = { type: "put", key: "/task", value: two };
    const tried = await refusal(commit({ ...core, store: throwingOnce(inner, "commit") }, [change], [], "once"));
    expect([tried.code, tried.details.reason]).toEqual(["UNAVAILABLE", "STORE_UNAVAILABLE"]);
    const committing = commit({ ...core, store: throwingOnce(inner, "commit") }, [change], [], "until-done");
    await clock.advance(5_000);
    expect((await inner.get("/task"))?.revision).toBe(await committing);
  });
});
