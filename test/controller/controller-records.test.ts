import { expect, test } from "vitest";
import { Lifetime } from "../../src/async/lifetime.ts";
import {
  eraseController,
  loadControllerRecords,
  storeControllerRecord,
} from "../../src/controller/controller-records.ts";
import { createStoreGuard } from "../../src/controller/store-guard.ts";
import { silentLog } from "../../src/log.ts";
import { systemRandom } from "../../src/random.ts";
import { controllerKey } from "../../src/store/keys.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import type { Store } from "../../src/store/store.ts";
import { controllerName, observed, openHarness, refusal } from "../support/controller-harness.ts";
import { damageEntries } from "../support/damaged-store.ts";
import { createFakeClock } from "../support/fake-clock.ts";

const module = { runnerKind: 1, configured: true };

function recordsOf(store: Store) {
  const guard = createStoreGuard({ store, clock: createFakeClock(), random: systemRandom, log: silentLog });
  return { store, guard, lifetime: new Lifetime(() => new Error("closed")) };
}

test("the controllers that were stored are found again, each with its kind, however many", async () => {
  const core = recordsOf(await openMemoryStore());
  expect(await loadControllerRecords(core)).toEqual(new Map());
  const names = Array.from({ length: 1_100 }, (_, i) => `c${i}`);
  await Promise.all(
    names.map((name, i) => storeControllerRecord(core, name, { runnerKind: 1 + (i % 3), configured: i % 2 === 0 })),
  );
  await storeControllerRecord(core, "c7", { runnerKind: 3, configured: true });
  const found = await loadControllerRecords(core);
  expect([...found.keys()].sort()).toEqual([...names].sort());
  expect([found.get("c7"), found.get("c8"), found.get("c9")]).toEqual([
    { runnerKind: 3, configured: true },
    { runnerKind: 3, configured: true },
    { runnerKind: 1, configured: false },
  ]);
});

test("a record that is damaged is a controller still, of a kind that is not known", async () => {
  const store = await openMemoryStore();
  await storeControllerRecord(recordsOf(store), "a", module);
  const core = recordsOf(damageEntries(store, (key) => key === controllerKey("a")));
  expect(await loadControllerRecords(core)).toEqual(new Map([["a", { runnerKind: 0, configured: false }]]));
});

test("a controller without tasks is erased: nothing of it is left but its counters, and nothing of others is gone", async () => {
  await using h = await openHarness();
  const core = recordsOf(h.disk);
  for (const name of [controllerName, `${controllerName}-2`]) await storeControllerRecord(core, name, module);
  for (let i = 0; i < 600; i += 1) await h.launch("a", { requestId: `r${i}`, ifActive: "use-existing" });
  expect((await refusal(eraseController(core, controllerName))).code).toBe("FAILED_PRECONDITION");
  (await h.runner.phase("a")).return();
  await h.settle();
  await h.crash({ retired: true });
  expect((await refusal(eraseController(core, controllerName))).code).toBe("FAILED_PRECONDITION");
  expect((await h.keys("/requests/")).length).toBe(600);
  await h.controller.deleteTask("a");
  await h.settle();
  await eraseController(core, controllerName);
  expect((await h.keys("/")).filter((key) => !key.startsWith("/counts/"))).toEqual([
    controllerKey(`${controllerName}-2`),
  ]);
  expect(await h.controller.countTasks()).toEqual(new Map());
  // Again is no harm.
  await eraseController(core, controllerName);
});

test("an erasure that is cut short leaves the controller known, and can be done again", async () => {
  await using h = await openHarness();
  await storeControllerRecord(recordsOf(h.disk), controllerName, module);
  for (let i = 0; i < 600; i += 1) await h.launch("a", { requestId: `r${i}`, ifActive: "use-existing" });
  (await h.runner.phase("a")).return();
  await h.settle();
  await h.crash({ retired: true });
  await h.controller.deleteTask("a");
  await h.settle();
  for (let cuts = 0; ; cuts += 1) {
    h.handle.cutAtCommit(2, { applied: cuts % 2 === 0 });
    const erasure = observed(eraseController(recordsOf(h.handle), controllerName));
    await h.settle();
    await h.settle();
    if (erasure.state() === "done") break;
    const isLeft = (await h.keys("/requests")).length > 0;
    const known = await loadControllerRecords(recordsOf(h.disk));
    if (isLeft) expect(known).toEqual(new Map([[controllerName, module]]));
    await h.crash({ retired: true });
    expect(cuts).toBeLessThan(20);
  }
  expect(await h.keys("/requests/")).toEqual([]);
  expect(await h.keys("/controllers/")).toEqual([]);
  await h.crash({ retired: true });
});
