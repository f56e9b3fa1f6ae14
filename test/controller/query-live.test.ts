import type { TaskState } from "#gen/core/v1/core_pb.js";
/** Lists that are read page by page while tasks come, change and go. */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { QueryOptions } from "../../src/controller/controller.ts";
import { StateCanceled, StateCompleted, StatePending, StateRunning } from "../../src/task/state.ts";
import { type Harness, openHarness } from "../support/controller-harness.ts";

const numRuns = Number(process.env["QUERY_LIVE_RUNS"] ?? 40);

interface Facts {
  readonly state: TaskState;
  readonly labels: Readonly<Record<string, string>>;
}

/** What happens to a task between two pages. */
type Step = { readonly kind: "launch" | "end" | "cancel" | "delete"; readonly taskId: string; readonly label: string };

const ids = ["a", "a1", "a2", "b", "b1", "c", "c.1", "d", "e", "z"];
const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom("launch", "launch", "end", "cancel", "delete"),
  taskId: fc.constantFrom(...ids),
  label: fc.constantFrom("x", "y"),
});
const filter: fc.Arbitrary<QueryOptions> = fc.record({
  states: fc.option(fc.uniqueArray(fc.constantFrom(StatePending, StateRunning, StateCompleted, StateCanceled)), {
    nil: undefined,
  }),
  labels: fc.constantFrom<(Record<string, string> | undefined)[]>(undefined, { l: "x" }, { l: "y", all: "1" }),
  idPrefix: fc.constantFrom(undefined, "a", "c"),
  order: fc.constantFrom("id", "newest"),
  pageSize: fc.constantFrom(1, 2, 3),
});

test("a page token is stable: what matches all the time is listed once, what never matches is not, and nothing comes twice", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), fc.array(step, { maxLength: 25 }), filter, async (...plan) => {
      const [before, between, options] = plan;
      await using h = await openHarness({ concurrency: 4 });
      for (const each of before) await perform(h, each);
      const moments = [await lookAt(h)];
      const listed: string[] = [];
      const revisions = new Set<bigint>();
      const left = [...between];
      let pageToken = "";
      do {
        const page = await h.controller.queryTasks({ ...options, pageToken });
        listed.push(...page.tasks.map((task) => task.taskId));
        for (const { status, taskId } of page.tasks) {
          expect(matches({ state: status.state, labels: status.labels }, taskId, options)).toBe(true);
        }
        revisions.add(page.revision);
        pageToken = page.nextPageToken;
        for (const each of left.splice(0, 2)) {
          await perform(h, each);
          moments.push(await lookAt(h));
        }
        // A token outlives its process.
        if (left.length % 7 === 1) {
          await h.crash();
          await h.settle();
          moments.push(await lookAt(h));
        }
      } while (pageToken !== "");
      expect(revisions.size).toBe(1);
      expect(new Set(listed).size).toBe(listed.length);
      for (const taskId of ids) {
        const matched = moments.map((facts) => {
          const fact = facts.get(taskId);
          return fact !== undefined && matches(fact, taskId, options);
        });
        if (matched.every(Boolean)) expect(listed).toContain(taskId);
        if (!matched.some(Boolean)) expect(listed).not.toContain(taskId);
      }
      if (options.order === "id") expect(listed).toEqual([...listed].sort());
      for (const phase of h.runner.phases) if (!phase.isSettled) phase.return();
      await h.settle();
    }),
    { numRuns },
  );
});

async function perform(h: Harness, { kind, taskId, label }: Step): Promise<void> {
  await h.clock.advance(1);
  if (kind === "launch") await h.launch(taskId, { labels: { l: label, all: "1" } });
  else if (kind === "end") h.runner.held(taskId)?.return();
  else if (kind === "cancel") await h.controller.cancelTask(taskId).catch(() => {});
  else await h.controller.deleteTask(taskId).catch(() => {});
  await h.settle();
  for (const phase of h.runner.phases) if (phase.signal.aborted && !phase.isSettled) phase.stop();
  await h.settle();
}

async function lookAt(h: Harness): Promise<Map<string, Facts>> {
  const page = await h.controller.queryTasks({ pageSize: 1_000 });
  return new Map(page.tasks.map(({ taskId, status }) => [taskId, { state: status.state, labels: status.labels }]));
}

function matches({ state, labels }: Facts, taskId: string, options: QueryOptions): boolean {
  if (options.states?.length && !options.states.includes(state)) return false;
  if (options.idPrefix && !taskId.startsWith(options.idPrefix)) return false;
  return Object.entries(options.labels ?? {}).every(([name, value]) => labels[name] === value);
}
