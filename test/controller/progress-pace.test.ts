/** Progress alone has a pace: a runner that says it all the time costs few commits, and loses nothing that counts. */
import { expect, test } from "vitest";
import { type Harness, observed, openHarness } from "../support/controller-harness.ts";

const limits = { progressPerSecondMax: 10 };

async function shown(h: Harness): Promise<bigint | undefined> {
  return (await h.stored("a"))?.status.progress?.current;
}

test("what is said faster than that is coalesced: the newest is on disk when the next is due, and all who wait are told", async () => {
  await using h = await openHarness({ limits });
  await h.launch("a");
  const { task } = await h.runner.phase("a");
  const before = h.disk.revision();
  for (let current = 1; current <= 10; current += 1) await task.setProgress({ current });
  expect(h.disk.revision() - before).toBe(10n);
  const said = Array.from({ length: 500 }, (_, i) => observed(task.setProgress({ current: 11 + i })));
  await h.clock.advance(99);
  expect([await shown(h), said[0]?.state()]).toEqual([10n, "waiting"]);
  expect((await task.getProgress())?.current).toBe(510n);
  await h.clock.advance(1);
  expect([await shown(h), h.disk.revision() - before]).toEqual([510n, 11n]);
  await Promise.all(said.map(({ promise }) => promise));
});

test("over a second it has no more commits than that", async () => {
  await using h = await openHarness({ limits });
  await h.launch("a");
  const { task } = await h.runner.phase("a");
  for (let current = 1; current <= 10; current += 1) await task.setProgress({ current });
  const before = h.disk.revision();
  for (let ms = 0; ms < 5_000; ms += 5) {
    void task.setProgress({ current: ms });
    await h.clock.advance(5);
  }
  expect(Number(h.disk.revision() - before)).toBeLessThanOrEqual(51);
  expect(Number(h.disk.revision() - before)).toBeGreaterThanOrEqual(45);
});

test.each(["a log entry", "the end"])("%s takes it along at once", async (what) => {
  await using h = await openHarness({ limits });
  await h.launch("a");
  const phase = await h.runner.phase("a");
  for (let current = 1; current <= 10; current += 1) await phase.task.setProgress({ current });
  const waits = phase.task.setProgress({ current: 11 });
  if (what === "the end") phase.return();
  else await phase.task.addLogEntry("info", "x");
  await waits;
  expect(await shown(h)).toBe(11n);
});

test("a run that has ended or was left has nothing that waits", async () => {
  await using h = await openHarness({ limits });
  await h.launch("a");
  const { task } = await h.runner.phase("a");
  for (let current = 1; current <= 11; current += 1) void task.setProgress({ current });
  await h.close();
  expect([h.clock.pending(), await shown(h)]).toEqual([0, 11n]);
  await h.open();
});
