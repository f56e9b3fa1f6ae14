import { describe, expect, test } from "vitest";
import { type Store, StoreError } from "../../src/store/store.ts";
import { type Harness, openHarness } from "../support/controller-harness.ts";
import { refusingCommits } from "../support/refusing-store.ts";

/** Lets the process die in so many attempts of the task "a". */
async function die(h: Harness, times: number): Promise<void> {
  for (let i = 0; i < times; i += 1) {
    await h.runner.phase("a");
    await h.crash();
  }
}

/** What the log says of deaths. */
function deathsSaid(h: Harness): string[] {
  const kinds = new Set<unknown>(["runs_interrupted", "crash_loops"]);
  return h.logged.filter(({ fields }) => kinds.has(fields["fault"])).map(({ message }) => message);
}

/** The first commit that ends or resumes something under a lease, which is found at an opening, loses the race. */
function losingOnce(store: Store): Store {
  let isLost = false;
  return refusingCommits(store, (changes) => {
    if (isLost || !changes.some(({ type, key }) => type === "unindex" && key.startsWith("/leases/"))) return false;
    isLost = true;
    throw new StoreError("CONFLICT", "somebody else was first");
  });
}

describe("the death of a process in a run is said once, when it is on disk what becomes of the task", () => {
  const interrupted = "the process died while it ran this task";

  test("as often as it dies, and that the task is given up in the end", async () => {
    await using h = await openHarness();
    await h.launch("a");
    await die(h, 3);
    await h.settle();
    const givenUp = "the process died again and again while it ran this task, which is given up";
    expect(deathsSaid(h)).toEqual([interrupted, interrupted, interrupted, givenUp]);
  });

  test.each([1, 3])("where a write before was overtaken by somebody else's, too (deaths: %i)", async (deaths) => {
    await using h = await openHarness();
    await h.launch("a");
    await die(h, deaths - 1);
    await h.runner.phase("a");
    await h.crash({ wrap: losingOnce });
    await h.settle();
    expect((await h.controller.taskStatus("a")).crashCount).toBe(deaths);
    const crash_loops = deaths === 3 ? 1 : 0;
    expect(h.faults.counts()).toMatchObject({ runs_interrupted: deaths, crash_loops });
  });

  test.each([
    ["canceled", (h: Harness) => h.controller.cancelTask("a"), "Canceled"],
    ["launched anew", (h: Harness) => h.launch("a"), "Running"],
  ])("where the task had been %s meanwhile", async (_, ask, state) => {
    await using h = await openHarness();
    await h.launch("a");
    await h.runner.phase("a");
    await ask(h);
    await h.crash();
    await h.settle();
    expect([await h.state("a"), h.faults.counts().runs_interrupted]).toEqual([state, 1]);
    expect(deathsSaid(h)).toEqual([interrupted]);
  });
});
