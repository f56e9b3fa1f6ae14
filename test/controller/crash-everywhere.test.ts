/**
 * The process dies at every operation of its store, before it is done or after, in each of several lives of a task; and
 * again in the middle of the recovery; or it is closed there. Whatever was acknowledged is there in the end, everything
 * that was alive has gone on, and nothing has gone on that was over.
 *
 * CRASHES: "all" for the second death at every operation of each recovery too, instead of at one of them; or a number,
 * to look at every so many-th operation only. CRASH_SCENARIO: only the lives with this in their names.
 */
import { describe, expect, test } from "vitest";
import { FaultPlan } from "../support/fault-store.ts";
import { Life } from "./crash-life.ts";
import { lives } from "./crash-lives.ts";

const dose = process.env["CRASHES"] ?? "1";
const stride = dose === "all" ? 1 : Number(dose);
const only = process.env["CRASH_SCENARIO"] ?? "";
/** The usual dose takes seconds. */
const timeout = dose === "1" ? 180_000 : 7_200_000;

/** At which operations of the recovery a second death comes, in turn: 0 is none. It has fewer than this. */
const recoveryMax = 1_000;
function secondDeaths(at: number): number[] {
  return dose === "all" ? Array.from({ length: recoveryMax }, (_, i) => i) : [0, 1 + ((at * 7) % 17)];
}

async function expectNoComplaints(life: Life, what: string): Promise<void> {
  const complaints = await life.complaints().catch((error: unknown) => [String(error)]);
  expect(complaints, what).toEqual([]);
}

const chosen = Object.entries(lives)
  .filter(([name]) => name.includes(only))
  .flatMap(([name, script]) =>
    [true, false].map((prepares) => [name + (prepares ? "" : ", started at once"), script, prepares] as const),
  );

describe("the process dies at every operation of its store in", () => {
  test.each(chosen)("%s, and nothing that was acknowledged is lost", { timeout }, async (_, script, prepares) => {
    const plan = new FaultPlan();
    const sound = await Life.create({ ...script.options, prepares });
    await sound.live(plan, () => script.run(sound));
    await sound.live(new FaultPlan(), () => sound.finish());
    await expectNoComplaints(sound, "without a death");
    const deaths = { first: 0, second: 0 };
    for (let at = 1; at <= plan.operations; at += stride) {
      for (const kind of ["crash", "crash after"] as const) {
        for (const second of secondDeaths(at)) {
          const life = await Life.create({ ...script.options, prepares });
          const what = `dead at operation ${at} (${kind})${second > 0 ? `, and at ${second} of the recovery` : ""}`;
          if (await life.live(new FaultPlan([{ at, kind }]), () => script.run(life))) deaths.first += 1;
          const again = new FaultPlan(second > 0 ? [{ at: second, kind }] : []);
          const diedAgain = second > 0 && (await life.live(again, () => life.finish()));
          if (diedAgain) deaths.second += 1;
          if (second === 0 || diedAgain) await life.live(new FaultPlan(), () => life.finish());
          await expectNoComplaints(life, what);
          if (second > 0 && !diedAgain) break;
        }
      }
    }
    // Were there no deaths, the test would have said nothing.
    const operations = Math.floor(plan.operations / stride);
    expect(deaths.first).toBeGreaterThanOrEqual(operations * 2);
    expect(deaths.second).toBeGreaterThanOrEqual(Math.floor(operations / 2));
  });
});

test.each(chosen)(
  "a controller that is closed at every operation of its store in %s keeps every promise, and is quiet then",
  {
    timeout,
  },
  async (_, script, prepares) => {
    const plan = new FaultPlan();
    const sound = await Life.create({ ...script.options, prepares });
    await sound.live(plan, () => script.run(sound));
    for (let at = 1; at <= plan.operations; at += stride) {
      const life = await Life.create({ ...script.options, prepares });
      const what = `closed at operation ${at}`;
      await life.liveUntilClosed(at, () => script.run(life));
      const revision = life.h.disk.revision();
      await life.h.settle();
      await life.h.clock.advance(60_000);
      expect([life.h.disk.revision(), life.h.clock.pending()], `${what}: revision, timers`).toEqual([revision, 0]);
      await life.live(new FaultPlan(), () => life.finish());
      await expectNoComplaints(life, what);
      const crashes = life.observer.versions("a").map((version) => version?.status.crashCount ?? 0);
      expect(Math.max(0, ...crashes), `${what}: a closing is no death`).toBe(0);
    }
  },
);
