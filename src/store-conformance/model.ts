import assert from "node:assert/strict";
import fc from "fast-check";
import { type Change, type Condition, compareKeys, type Entry, type StoreEvent } from "../store/store.ts";
import { bytes, expectFailure, type Harness, line, openHarness, WatchReader } from "./harness.ts";
import type { Suite } from "./suite.ts";

/** As many histories as are asked for take as long as they take. */
const timeoutMs = 600_000;

export function describeModel({ open, test, histories }: Suite): void {
  const dose = `${histories} random histories`;
  const tries = { numRuns: histories };
  test(
    `commits, reads and watches are as the model says, at every revision: ${dose}`,
    async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(stepArbitrary, { minLength: 1, maxLength: 40 }), async (steps) => {
          await using harness = await openHarness(open);
          const model = new Model(line);
          for (const step of steps) await take(step, harness, model);
          await expectSame(harness, model);
        }),
        tries,
      );
    },
    timeoutMs,
  );

  test(
    `the same with little history: ${dose}`,
    async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(stepArbitrary, { minLength: 20, maxLength: 40 }), async (steps) => {
          await using harness = await openHarness(open, { historyMs: 8_000 });
          // A key that was deleted before the first revision there is may have lost its chain.
          const model = new Model((item) => line({ ...item, previous: 0n }));
          for (const step of steps) await take(step, harness, model);
          await expectSame(harness, model);
        }),
        tries,
      );
    },
    timeoutMs,
  );
}

type Step =
  | {
      readonly kind: "commit";
      readonly changes: readonly Change[];
      readonly guesses: readonly Guess[];
      /** What follows at once. */
      readonly next: readonly Change[] | undefined;
    }
  | {
      readonly kind: "read";
      readonly ahead: boolean;
      readonly back: number;
      readonly prefix: string;
      readonly limit: number;
    }
  | { readonly kind: "advance"; readonly ms: number }
  | { readonly kind: "restart" };

/** A condition: on what the key is at, on what it was at before, or on a revision out of the blue. */
interface Guess {
  readonly key: string;
  readonly on: "now" | "now, again" | "before" | "0" | "elsewhere";
}

const names = ["a", "a\0", "a\0b", "ab", "b", "\uffff", "\u{1f600}"];
const keyOf = (kind: string) => fc.constantFrom(...names).map((name) => `${kind}${name}`);
const someValue = fc.constantFrom("", "x", "y", "\0\0").map(bytes);
const versionedChange = fc.oneof(
  { arbitrary: fc.record({ type: fc.constant("put" as const), key: keyOf("v"), value: someValue }), weight: 3 },
  { arbitrary: fc.record({ type: fc.constant("delete" as const), key: keyOf("v") }), weight: 1 },
);
const otherChange = fc.oneof(
  fc.record({ type: fc.constant("index" as const), key: keyOf("i"), value: someValue }),
  fc.record({ type: fc.constant("unindex" as const), key: keyOf("i") }),
  fc.record({ type: fc.constant("add" as const), key: keyOf("n"), delta: fc.bigInt({ min: -5n, max: 5n }) }),
);
const guess = fc.record<Guess>({
  key: fc.oneof(keyOf("v"), keyOf("i")),
  on: fc.constantFrom("now", "now, again", "before", "0", "elsewhere"),
});
const someChanges = fc.uniqueArray(fc.oneof(versionedChange, versionedChange, otherChange), {
  maxLength: 5,
  selector: (change) => change.key,
});
const stepArbitrary: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("commit" as const),
      changes: someChanges,
      next: fc.option(someChanges, { nil: undefined, freq: 2 }),
      guesses: fc.oneof(fc.constant([]), fc.array(guess, { maxLength: 2 })),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("read" as const),
      ahead: fc.boolean(),
      back: fc.nat(12),
      prefix: fc.constantFrom("", "v", "va", "va\0", "i", "n"),
      limit: fc.integer({ min: 1, max: 6 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("advance" as const), ms: fc.integer({ min: 1, max: 3_000 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const) }) },
);

async function take(step: Step, harness: Harness, model: Model): Promise<void> {
  if (step.kind === "advance") return harness.clock.advance(step.ms);
  if (step.kind === "restart") {
    await harness.restart();
    assert.equal(harness.store.revision(), model.revision);
    return;
  }
  if (step.kind === "read") {
    const { prefix, limit, back } = step;
    const whole = model.entriesAsOf(undefined, prefix).map(model.show);
    const page = (await harness.store.scan({ prefix, limit })).map(model.show);
    assert.deepEqual(page, whole.slice(0, limit));
    const reverse = (await harness.store.scan({ prefix, limit, reverse: true })).map(model.show);
    assert.deepEqual(reverse, whole.reverse().slice(0, limit));
    const revision = step.ahead ? model.revision + 1n + BigInt(back) : model.revision - BigInt(back);
    if (revision < harness.store.firstRevision()) return;
    const scanAsOf = () => harness.store.scan({ prefix, limit, revision });
    if (step.ahead) {
      await expectFailure(scanAsOf(), "FUTURE");
      return;
    }
    const asOf = await harness.unlessGone(revision, scanAsOf);
    if (asOf === "gone") return;
    assert.deepEqual(asOf.map(model.show), model.entriesAsOf(revision, prefix).map(model.show).slice(0, limit));
    return;
  }
  // An index entry may only be written while it is absent.
  const indexable = (change: Change): boolean => change.type !== "index" || model.newest(change.key) === undefined;
  const changes = step.changes.filter(indexable);
  const isTouched = ({ key }: Change): boolean =>
    changes.some((change) => change.type === "index" && change.key === key);
  const next = step.next?.filter((change) => indexable(change) && (change.type !== "index" || !isTouched(change)));
  let isFollowed = false;
  const conditions = step.guesses.map((each) => model.condition(each));
  const lost = conditions.filter((condition) => (model.newest(condition.key)?.revision ?? 0n) !== condition.revision);
  const commit = harness.store.commit(
    changes,
    conditions,
    next &&
      (() => {
        isFollowed = true;
        return next;
      }),
  );
  if (lost.length === 0) {
    const revision = await commit;
    model.apply(revision, changes);
    if (next !== undefined && isFollowed) model.apply(revision + 1n, next);
  } else {
    const failure = await expectFailure(commit, "CONFLICT");
    assert(
      lost.some((condition) => condition.key === failure.key),
      `${failure.key} is one that was lost`,
    );
  }
  assert.equal(harness.store.revision(), model.revision);
  for (const change of [...changes, ...(next ?? [])]) {
    const [actual, expected] = [await harness.store.get(change.key), model.newest(change.key)];
    assert.equal(actual && model.show(actual), expected && model.show(expected));
  }
}

/** Everything that can be read and watched is as the model says; what is below is gone. */
async function expectSame(harness: Harness, model: Model): Promise<void> {
  const { store } = harness;
  const now = await store.scan({ prefix: "", limit: 100 });
  assert.deepEqual(now.map(model.show), model.entriesAsOf(undefined, "").map(model.show));
  for (let revision = store.firstRevision(); revision <= model.revision; revision += 1n) {
    const entries = await harness.unlessGone(revision, () => store.scan({ prefix: "", limit: 100, revision }));
    if (entries === "gone") continue;
    assert.deepEqual(entries.map(model.show), model.entriesAsOf(revision, "").map(model.show));
    for (const name of names) {
      const entry = await harness.unlessGone(revision, () => store.get(`v${name}`, { revision }));
      if (entry === "gone") break;
      const listed: Entry | undefined = entries.find((other) => other.key === `v${name}`);
      assert.equal(entry && line(entry), listed && line(listed));
    }
  }
  for (const name of names) {
    const change = model.events.findLast((event) => event.key === `v${name}`);
    const newest = await store.get(`v${name}`, { deleted: true });
    // Asked for after the read: history may have gone meanwhile, and a deletion with it.
    if (newest === undefined) assert((change?.revision ?? 0n) <= store.firstRevision(), `the end of ${name} is there`);
    else
      assert.equal(
        `${newest.deleted === true ? "delete" : "put"} ${newest.revision}`,
        change && `${change.type} ${change.revision}`,
      );
  }
  const last = model.events.at(-1)?.revision ?? 0n;
  let first = store.firstRevision();
  for (; first < last; first = store.firstRevision()) {
    const watch = new WatchReader(store, { after: first });
    const events = await harness.unlessGone(first, () => watch.eventsUpTo(last));
    if (events === "gone") continue;
    const expected = model.events.filter((event) => event.revision > first);
    assert.deepEqual(events.map(model.show), expected.map(model.show));
    break;
  }
  if (first > 0n) await expectFailure(store.get("va", { revision: first - 1n }), "COMPACTED");
}

/** A store in the plainest words: every event is kept, and every answer is looked for among all of them. */
export class Model {
  readonly events: StoreEvent[] = [];
  readonly #others = new Map<string, Entry>();
  /** An entry or event in the words in which the store's are compared with the model's. */
  readonly show: (item: Entry | StoreEvent) => string;
  revision = 0n;

  constructor(show: (item: Entry | StoreEvent) => string) {
    this.show = show;
  }

  apply(revision: bigint, changes: readonly Change[]): void {
    assert(revision > this.revision, "revisions rise");
    this.revision = revision;
    for (const change of changes) {
      const { key } = change;
      const before = this.#others.get(key);
      if (change.type === "unindex") this.#others.delete(key);
      else if (change.type === "index") this.#others.set(key, { key, value: change.value, revision, previous: 0n });
      else if (change.type === "add") {
        const value = new Uint8Array(8);
        const sum = (before ? Buffer.from(before.value).readBigInt64BE() : 0n) + change.delta;
        new DataView(value.buffer).setBigInt64(0, sum);
        this.#others.set(key, { key, value, revision, previous: 0n });
      } else if (change.type === "put" || this.newest(key) !== undefined) {
        const previous = this.events.findLast((event) => event.key === key)?.revision ?? 0n;
        const value = change.type === "put" ? change.value : new Uint8Array(0);
        this.events.push({ type: change.type, key, value, revision, previous });
      }
    }
  }

  newest(key: string): Entry | undefined {
    return this.#others.get(key) ?? this.#asOf(key, this.revision);
  }

  entriesAsOf(revision: bigint | undefined, prefix: string): Entry[] {
    const keys = new Set(this.events.map((event) => event.key));
    const entries = [...keys].map((key) => this.#asOf(key, revision ?? this.revision));
    if (revision === undefined) entries.push(...this.#others.values());
    return entries
      .filter((entry) => entry !== undefined)
      .filter((entry) => entry.key.startsWith(prefix))
      .sort((a, b) => compareKeys(a.key, b.key));
  }

  condition({ key, on }: Guess): Condition {
    const now = this.newest(key)?.revision ?? 0n;
    if (on === "0") return { key, revision: 0n };
    if (on === "elsewhere") return { key, revision: this.revision + 1n };
    if (on === "before") return { key, revision: this.events.findLast((event) => event.key === key)?.previous ?? now };
    return { key, revision: now };
  }

  #asOf(key: string, revision: bigint): Entry | undefined {
    const event = this.events.findLast((other) => other.key === key && other.revision <= revision);
    if (event === undefined || event.type === "delete") return undefined;
    return { key, value: event.value, revision: event.revision, previous: event.previous };
  }
}
