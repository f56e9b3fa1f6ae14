import fc from "fast-check";
import { expect, test } from "vitest";
import type { Store } from "../../src/store/store.ts";
import { isEnded } from "../../src/task/state.ts";
import { createHarness, type Harness } from "../support/controller-harness.ts";

/** Every read and commit of the store takes its turn as the scheduler says. */
function scheduled(store: Store, scheduler: fc.Scheduler): Store {
  const late =
    <A extends unknown[], R>(name: string, call: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      await scheduler.schedule(Promise.resolve(), name);
      const result = await call(...args);
      await scheduler.schedule(Promise.resolve(), `${name}, its answer`);
      return result;
    };
  return {
    kind: store.kind,
    durability: store.durability,
    revision: () => store.revision(),
    firstRevision: () => store.firstRevision(),
    get: late("get", (key, options) => store.get(key, options)),
    scan: late("scan", (options) => store.scan(options)),
    commit: late("commit", (changes, conditions) => store.commit(changes, conditions)),
    watch: (options) => store.watch(options),
    reopen: () => store.reopen(),
    close: () => store.close(),
  };
}

type Action =
  | "launch"
  | "restart if active"
  | "cancel"
  | "return"
  | "throw"
  | "stop"
  | "progress"
  | "log"
  | "delete"
  | "query"
  | "crash";

const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Action>("launch") },
  { weight: 3, arbitrary: fc.constant<Action>("cancel") },
  { weight: 4, arbitrary: fc.constant<Action>("return") },
  { weight: 2, arbitrary: fc.constant<Action>("stop") },
  fc.constantFrom<Action[]>("throw", "progress", "log", "delete", "query", "crash", "restart if active"),
);

/** What the runs of the two tasks did, checked as they do it. */
class Observer {
  readonly running = new Map<string, string>();
  readonly ended = new Set<string>();
  readonly problems: string[] = [];
  readonly h: Harness;

  constructor(h: Harness) {
    this.h = h;
    h.runner.scripts.running = (phase) => {
      const { taskId, context } = phase;
      if (this.ended.has(context.runId)) this.problems.push(`${context.runId} ran after its end`);
      const other = this.running.get(taskId);
      if (other !== undefined) this.problems.push(`${context.runId} ran beside ${other}`);
      this.running.set(taskId, context.runId);
      const over = (): void => {
        if (!phase.isAbandoned) this.running.delete(taskId);
      };
      phase.settled.then(over, over);
      return phase.settled;
    };
    h.runner.scripts.completed = (phase) => {
      this.ended.add(phase.context.runId);
      if (!isEnded(phase.state ?? 0)) this.problems.push(`told of ${phase.state}`);
    };
  }

  act(each: Action, taskId: string): Promise<unknown> {
    const { h } = this;
    const held = h.runner.held(taskId);
    switch (each) {
      case "launch":
        return h.launch(taskId, { labels: { l: String(h.runner.phases.length % 3) } });
      case "restart if active":
        return h.launch(taskId, { ifEnded: "fail" });
      case "cancel":
        return h.controller.cancelTask(taskId);
      case "delete":
        return h.controller.deleteTask(taskId);
      case "query":
        return h.controller.queryTasks({ states: [1, 2], include: { logs: true } });
      case "progress":
        return held?.task.setProgress({ current: 1 }) ?? Promise.resolve();
      case "log":
        return held?.task.addLogEntry("info", "x") ?? Promise.resolve();
      case "return":
        held?.return(1);
        return Promise.resolve();
      case "throw":
        held?.throw(new Error("no"));
        return Promise.resolve();
      case "stop":
        if (held?.signal.aborted) held.stop();
        return Promise.resolve();
      case "crash":
        this.running.clear();
        return h.crash();
    }
  }
}

test("in whatever order things happen, runs never overlap or come back, and everything on disk agrees", async () => {
  const seen = { ends: 0, crashes: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(fc.tuple(action, fc.constantFrom("a", "b"), fc.nat(6)), { minLength: 5, maxLength: 30 }),
      fc.integer({ min: 1, max: 2 }),
      async (scheduler, actions, concurrency) => {
        const h = await createHarness({ concurrency, wrap: (store) => scheduled(store, scheduler) });
        const observer = new Observer(h);
        await scheduler.waitFor(h.open());
        const calls: Array<Promise<unknown>> = [];
        for (const [each, taskId, steps] of actions) {
          if (each === "crash") {
            seen.crashes += 1;
            await scheduler.waitFor(observer.act(each, taskId));
          } else calls.push(observer.act(each, taskId).catch((error: { code?: string }) => error.code));
          for (let i = 0; i < steps && scheduler.count() > 0; i += 1) await scheduler.waitOne();
        }
        await drain(h, scheduler);
        const answers = h.runner.phases.some((phase) => phase.isAbandoned) ? [] : await Promise.all(calls);
        for (const answer of answers) if (typeof answer === "string") expect(expected).toContain(answer);
        expect(observer.problems).toEqual([]);
        seen.ends += observer.ended.size;
        await h.settle();
        await scheduler.waitFor(h.check());
        for (const taskId of ["a", "b"]) {
          const task = await h.stored(taskId);
          if (task !== undefined) expect(isEnded(task.status.state), `${taskId} has ended`).toBe(true);
        }
        const closing = h.controller.close();
        await scheduler.waitFor(closing);
      },
    ),
    { numRuns: Number(process.env.INTERLEAVINGS ?? 150) },
  );
  expect(seen.ends).toBeGreaterThan(100);
  expect(seen.crashes).toBeGreaterThan(20);
}, 120_000);

/** How calls may be refused here: anything else is a bug. */
const expected = ["NOT_FOUND", "FAILED_PRECONDITION", "ALREADY_EXISTS", "ABORTED", "INVALID_ARGUMENT"];

/** Lets everything that is under way happen, and every run end. */
async function drain(h: Harness, scheduler: fc.Scheduler): Promise<void> {
  for (let idle = 0; idle < 3; ) {
    await h.settle();
    if (scheduler.count() > 0) {
      idle = 0;
      await scheduler.waitOne();
      continue;
    }
    const held = h.runner.phases.filter((phase) => !phase.isSettled && !phase.isAbandoned);
    for (const phase of held) phase.return("drained");
    idle = held.length > 0 ? 0 : idle + 1;
  }
}
