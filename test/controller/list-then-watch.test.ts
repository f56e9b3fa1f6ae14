import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { TaskFilter, TasksChange } from "../../src/controller/controller.ts";
import { StateCanceled, StateCompleted, StateRunning } from "../../src/task/state.ts";
import { type Harness, openHarness } from "../support/controller-harness.ts";
import { TasksWatching } from "../support/watching.ts";

/** What somebody knows who lists and then watches, or watches a snapshot and on. */
class Replica {
  readonly tasks = new Map<string, { revision: bigint; state: number }>();
  revision = 0n;

  see({ taskId, revision, status, deleted, left, bookmark }: TasksChange): void {
    if (!bookmark) {
      expect(revision).toBeGreaterThan(this.revision);
      if (deleted || left) this.tasks.delete(taskId);
      else this.tasks.set(taskId, { revision, state: status?.state ?? 0 });
    }
    this.revision = revision;
  }
}

const filters: readonly TaskFilter[] = [
  {},
  { states: [StateRunning] },
  { states: [StateCompleted, StateCanceled] },
  { labels: { parity: "0" } },
  { idPrefix: "task-1" },
];

type Step = { readonly task: number; readonly does: "launch" | "progress" | "return" | "cancel" | "delete" };

async function take(h: Harness, { task, does }: Step): Promise<void> {
  const taskId = `task-${task}`;
  const held = h.runner.held(taskId);
  if (does === "launch") await h.launch(taskId, { labels: { parity: String(h.runner.phases.length % 2) } });
  else if (does === "delete") await h.controller.deleteTask(taskId).catch(() => {});
  else if (does === "cancel") {
    await h.controller.cancelTask(taskId).catch(() => {});
    held?.stop();
  } else if (does === "return") held?.return();
  else if (held !== undefined) await held.task.setProgress({ current: 1, total: 2 }).catch(() => {});
  if (does !== "progress") await h.settle();
}

describe("listing and then watching from the list's revision", () => {
  const runs = Number(process.env["STINT_LIST_WATCH_RUNS"] ?? 40);

  test(`has no gap, whatever happens between the pages and behind them: ${runs} random races (STINT_LIST_WATCH_RUNS)`, async () => {
    const step = fc.record({
      task: fc.integer({ min: 0, max: 12 }),
      does: fc.constantFrom<Step["does"]>("launch", "launch", "progress", "return", "cancel", "delete"),
    });
    const race = fc.record({
      before: fc.array(step, { maxLength: 20 }),
      between: fc.array(fc.array(step, { maxLength: 4 }), { minLength: 4, maxLength: 4 }),
      after: fc.array(step, { maxLength: 12 }),
      filter: fc.constantFrom(...filters),
    });
    let changesSeen = 0;
    await fc.assert(
      fc.asyncProperty(race, async ({ before, between, after, filter }) => {
        await using h = await openHarness();
        // Of a store that nothing was ever written to the revision is 0, which asks for a snapshot.
        await h.launch("first");
        for (const each of before) await take(h, each);
        // Reads its snapshot while the list is read.
        const snapshot = new Replica();
        const watching = new TasksWatching(h.controller.watchTasks(filter));
        const listed = new Replica();
        let pageToken = "";
        let from = 0n;
        for (let page = 0; page === 0 || pageToken !== ""; page += 1) {
          const answer = await h.controller.queryTasks({ ...filter, pageSize: 3, pageToken });
          for (const { taskId, revision, status } of answer.tasks) {
            listed.tasks.set(taskId, { revision, state: status.state });
          }
          from = answer.revision;
          pageToken = answer.nextPageToken;
          for (const each of between[page] ?? []) await take(h, each);
        }
        listed.revision = from;
        const resumed = new TasksWatching(h.controller.watchTasks({ ...filter, sinceRevision: from }));
        for (const each of after) await take(h, each);
        await h.settle();

        for (const change of resumed.changes) listed.see(change);
        const bookmarked = watching.changes.findIndex(({ bookmark }) => bookmark);
        for (const { taskId, revision, status } of watching.changes.slice(0, bookmarked)) {
          snapshot.tasks.set(taskId, { revision, state: status?.state ?? 0 });
        }
        for (const change of watching.changes.slice(bookmarked)) snapshot.see(change);
        const now = new Map<string, { revision: bigint; state: number }>();
        for (const page of await h.pages(filter)) {
          for (const { taskId, revision, status } of page.tasks) now.set(taskId, { revision, state: status.state });
        }
        const sorted = (tasks: ReadonlyMap<string, unknown>) => [...tasks].sort(([a], [b]) => (a < b ? -1 : 1));
        expect(sorted(snapshot.tasks)).toEqual(sorted(now));
        expect(sorted(listed.tasks)).toEqual(sorted(now));
        changesSeen += resumed.changes.length;
      }),
      { numRuns: runs },
    );
    expect(changesSeen).toBeGreaterThan(runs);
  }, 120_000);
});
