/**
 * A store that forgets its history while watches of it are read and resumed: each is told of every transition, or that what it asks for is gone; none goes on
 * behind a gap. WATCH_CUT_HISTORIES: how many random histories (default 60).
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { TaskChange } from "../../src/controller/controller.ts";
import { ControllerError } from "../../src/controller/error.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import { stateName } from "../../src/task/state.ts";
import { Harness } from "../support/controller-harness.ts";
import { RunObserver } from "../support/run-observer.ts";
import { transitionsAfter } from "../support/task-history.ts";
import { Puller } from "../support/watching.ts";
import { steps, take } from "./watch-cut-steps.ts";

const histories = Number(process.env["WATCH_CUT_HISTORIES"] ?? 60);
/** Watches of a process that has died end in no way; a deleted task begins a history of its own. */
const happenings = steps.filter((step) => step !== "crash" && step !== "delete");
/** So little that most of a task's history is gone after some steps. */
const historyBytes = 12_000;

/** A watch that was begun behind a revision, and is read at once or when all is over. */
class Reader {
  readonly since: bigint;
  readonly changes: readonly TaskChange[];
  /** How it ended: undefined while it could go on. */
  error: unknown;
  #reading: Promise<void> | undefined;
  readonly #puller: Puller | undefined;
  readonly #leaving = new AbortController();

  constructor(h: Harness, since: bigint) {
    this.since = since;
    try {
      const { signal } = this.#leaving;
      this.#puller = new Puller(h.controller.watchTask("a", { sinceRevision: since, waitForLaunch: true, signal }));
    } catch (error) {
      this.error = error;
    }
    this.changes = this.#puller?.changes ?? [];
  }

  read(): void {
    this.#reading ??= this.#puller?.rest().then(
      () => {},
      (error: unknown) => {
        this.error = error;
      },
    );
  }

  async leave(): Promise<void> {
    this.#leaving.abort();
    await this.#reading;
  }
}

/** What it was told is what was made, from its revision on, up to where it was cut off; resolves to how that was. */
function judge(reader: Reader, made: readonly string[], transitions: ReadonlySet<bigint>): "gone" | "cut" | "whole" {
  const { since, changes, error } = reader;
  const seen = changes
    .filter(({ status, revision }) => status !== undefined && transitions.has(revision))
    .map(({ status, revision }) => `${revision} ${stateName(status?.state ?? 0)}`);
  expect(seen, `what was seen since ${since}, to ${String(error)}`).toEqual(made.slice(0, seen.length));
  if (error === undefined) {
    expect(seen, `since ${since}`).toEqual(made);
    return "whole";
  }
  if (!(error instanceof ControllerError)) throw error;
  if (error.code === "UNAVAILABLE") return "cut";
  expect(error).toMatchObject({ code: "OUT_OF_RANGE", details: { reason: "COMPACTED" } });
  const first = BigInt(error.details.metadata?.["first_revision"] ?? 0);
  const last = changes.at(-1)?.revision ?? since;
  expect(first, "the first revision that is named").toBeGreaterThan(last);
  return "gone";
}

test("while history is let go of, a watch is told of everything or that it is gone", { timeout: 600_000 }, async () => {
  const counts = { gone: 0, cut: 0, whole: 0 };
  const property = fc.asyncProperty(
    fc.array(fc.constantFrom(...happenings), { minLength: 8, maxLength: 30 }),
    async (history) => {
      const observer = new RunObserver();
      await using h = new Harness(observer.store(await openMemoryStore({ historyBytes })), {});
      await h.open();
      await take(h, "launch");
      const readers: Reader[] = [];
      for (const [i, step] of history.entries()) {
        const revisions = observer.versions("a").flatMap((version) => version?.revision ?? []);
        // From every revision that the task had, in turn; every other one is not read while the history goes on.
        const since = revisions[(i * 5) % revisions.length] ?? 1n;
        readers.push(new Reader(h, since), new Reader(h, revisions.at(-1) ?? 1n));
        readers.at(-1)?.read();
        await take(h, step);
      }
      for (const { version } of observer
        .versions("a")
        .map((each) => ({ version: each }))
        .slice(-3)) {
        readers.push(new Reader(h, version?.revision ?? 1n));
      }
      for (const reader of readers) reader.read();
      await h.settle();
      await h.clock.advance(300);
      const all = observer.versions("a").map((version) => ({ version }));
      const transitions = new Set(
        all.flatMap(({ version }) => (version?.record.isTransition ? [version.revision] : [])),
      );
      for (const reader of readers) {
        await reader.leave();
        counts[judge(reader, transitionsAfter(all, reader.since), transitions)] += 1;
      }
      h.runner.held("a")?.return();
    },
  );
  await fc.assert(property, { numRuns: histories });
  process.stderr.write(
    `watches while history goes: ${histories} histories: ${counts.whole} whole, ${counts.cut} cut by a stop, ${counts.gone} told that it is gone; none with a gap\n`,
  );
  for (const [how, count] of Object.entries(counts)) expect(count, how).toBeGreaterThan(histories / 4);
});
