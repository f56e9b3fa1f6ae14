import { create, toJsonString } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { StateTransitionSchema, TaskErrorSchema, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { ListTasksResponseSchema } from "#gen/stint/v1/controller_pb.js";
import type { QueryOptions } from "../../src/controller/controller.ts";
import type { Entry, ScanOptions } from "../../src/store/store.ts";
import { createKVStore } from "../../src/store/task-store.ts";
import {
  StateCanceled,
  StateCompleted,
  StateFailed,
  StatePending,
  StateRunning,
  StateUnknown,
} from "../../src/task/state.ts";
import { CutStore } from "../support/cut-store.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { type Harness, invalidFields, openHarness, refusal } from "../support/controller-harness.ts";

/** Tasks in several states, with labels, launched a second apart. */
async function fill(h: Harness, ids: readonly string[]): Promise<void> {
  h.runner.scripts.running = (phase) => (phase.taskId.includes("run") ? phase.settled : undefined);
  for (const [i, id] of ids.entries()) {
    await h.launch(id, { labels: { parity: i % 2 === 0 ? "even" : "odd", mod: String(i % 3) } });
    await h.clock.advance(1_000);
  }
  await h.settle();
}

const ids = ["b", "a", "run-1", "a-2", "z", "run-2", "A", "a.1", "0", "a:3"];
const byBytes = [...ids].sort((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)));

describe("a list", () => {
  test("is in the order of ids, by bytes, or newest first", async () => {
    await using h = await openHarness();
    await fill(h, ids);
    for (const pageSize of [1, 2, 3, 100]) {
      expect(await h.query({ pageSize })).toEqual(byBytes);
      expect(await h.query({ pageSize, order: "newest" })).toEqual([...ids].reverse());
    }
    expect(await h.controller.listTasks()).toEqual(byBytes);
  });

  test("newest first is by creation, which a relaunch keeps", async () => {
    await using h = await openHarness();
    await fill(h, ["a", "b", "c"]);
    await h.launch("a");
    expect(await h.query({ order: "newest" })).toEqual(["c", "b", "a"]);
  });

  test("is filtered by states, labels (all of them) and a prefix, in any combination and order", async () => {
    await using h = await openHarness();
    await fill(h, ids);
    await h.launch("late", { labels: { parity: "odd" } });
    await h.settle();
    const all = (await h.pages({ pageSize: 1_000 })).flatMap((page) => page.tasks);
    const stateSets = [undefined, [], [StateRunning], [StateCompleted, StateRunning], [StatePending, StateUnknown]];
    const labelSets: Array<Record<string, string> | undefined> = [
      undefined,
      {},
      { parity: "odd" },
      { parity: "even", mod: "0" },
      { parity: "none" },
      { no: "odd" },
    ];
    const prefixes = [undefined, "", "a", "run-", "x"];
    const filters = stateSets.flatMap((states) =>
      labelSets.flatMap((labels) =>
        prefixes.flatMap((idPrefix) =>
          ([undefined, "id", "newest"] as const).map((order): QueryOptions => ({ states, labels, idPrefix, order })),
        ),
      ),
    );
    for (const filter of filters) {
      const expected = all
        .filter(
          ({ status }) =>
            filter.states === undefined || filter.states.length === 0 || filter.states.includes(status.state),
        )
        .filter(({ status }) => Object.entries(filter.labels ?? {}).every(([k, v]) => status.labels[k] === v))
        .filter(({ taskId }) => taskId.startsWith(filter.idPrefix ?? ""))
        .map(({ taskId }) => taskId);
      if (filter.order === "newest") {
        const rank = ["late", ...[...ids].reverse()];
        expected.sort((x, y) => rank.indexOf(x) - rank.indexOf(y));
      }
      for (const pageSize of [2, 50])
        expect(await h.query({ ...filter, pageSize }), JSON.stringify(filter)).toEqual(expected);
    }
    expect(filters.length).toBeGreaterThan(400);
  });

  test("tells labels apart whose names and values run into each other", async () => {
    await using h = await openHarness();
    await h.launch("a", { labels: { "x/y": "z" } });
    await h.launch("b", { labels: { x: "y/z" } });
    await h.launch("c", { labels: { x: "" } });
    await h.launch("d", { labels: { x: "=%2F/ä" } });
    expect(await h.query({ labels: { "x/y": "z" } })).toEqual(["a"]);
    expect(await h.query({ labels: { x: "y/z" } })).toEqual(["b"]);
    expect(await h.query({ labels: { x: "" } })).toEqual(["c"]);
    expect(await h.query({ labels: { x: "=%2F/ä" } })).toEqual(["d"]);
  });

  test("leaves metadata, result and logs out unless they are asked for", async () => {
    await using h = await openHarness();
    await h.launch("a", { metadata: { text: "m".repeat(3_000) } });
    const phase = await h.runner.phase("a");
    await phase.task.addLogEntry("info", "entry");
    phase.return("r");
    await h.settle();
    const [bare] = (await h.controller.queryTasks()).tasks;
    expect([bare?.status.metadata, bare?.status.result, bare?.status.logs]).toEqual(["", undefined, []]);
    const [whole] = (await h.controller.queryTasks({ include: { metadata: true, result: true, logs: true } })).tasks;
    expect(whole?.status).toEqual(await h.controller.taskStatus("a"));
  });

  test("has a total without a filter or with states only, and the first page's revision on every page", async () => {
    await using h = await openHarness();
    await fill(h, ids);
    const pages = await h.pages({ pageSize: 3 });
    expect(new Set(pages.map((page) => page.totalSize))).toEqual(new Set([10n]));
    expect((await h.controller.queryTasks({ states: [StateRunning, StateRunning] })).totalSize).toBe(2n);
    expect((await h.controller.queryTasks({ states: [StateCanceled] })).totalSize).toBe(0n);
    expect((await h.controller.queryTasks({ idPrefix: "a" })).totalSize).toBeUndefined();
    expect((await h.controller.queryTasks({ labels: { mod: "1" } })).totalSize).toBeUndefined();

    const first = await h.controller.queryTasks({ pageSize: 2 });
    await h.launch("new");
    const second = await h.controller.queryTasks({ pageSize: 2, pageToken: first.nextPageToken });
    expect(second.revision).toBe(first.revision);
    expect((await h.controller.queryTasks({ pageSize: 2 })).revision).toBeGreaterThan(first.revision);
  });

  test("has 100 tasks on a page unless it is told, and 1,000 at most", async () => {
    await using h = await openHarness();
    h.runner.scripts.running = () => undefined;
    for (let i = 0; i < 1_100; i += 1) await h.launch(`t${i}`);
    await h.settle();
    const sizes = async (options: QueryOptions) => (await h.pages(options)).map((page) => page.tasks.length);
    expect((await sizes({})).slice(0, 2)).toEqual([100, 100]);
    expect((await sizes({ pageSize: 0 }))[0]).toBe(100);
    expect(await sizes({ pageSize: 5_000 })).toEqual([1_000, 100]);
    expect((await sizes({ pageSize: 550 })).reduce((sum, size) => sum + size)).toBe(1_100);
  });

  test("looks at a bounded number of entries for a page, which may be empty, and finds the rest later", async () => {
    await using h = await openHarness();
    h.runner.scripts.running = () => undefined;
    for (let i = 0; i < 300; i += 1)
      await h.launch(`t${String(i).padStart(3, "0")}`, { labels: { last: String(i === 299), all: "x" } });
    await h.settle();
    const pages = await h.pages({ pageSize: 5, labels: { all: "x", last: "true" } });
    expect(pages.length).toBeGreaterThan(3);
    const found = pages.map((page) => page.tasks.map((task) => task.taskId)).filter((page) => page.length > 0);
    expect(found).toEqual([["t299"]]);
  });

  test("newest first finds a few among many without a walk over all, and many with a bounded one", async () => {
    let loads = 0;
    class CountingStore extends CutStore {
      override get(key: string, options?: { revision?: bigint | undefined }): ReturnType<CutStore["get"]> {
        if (key.startsWith("/tasks/")) loads += 1;
        return super.get(key, options);
      }

      override async scan(options: ScanOptions): Promise<Entry[]> {
        const entries = await super.scan(options);
        if (options.prefix.startsWith("/index/newest/")) looks += entries.length;
        return entries;
      }
    }
    let looks = 0;
    await using h = await openHarness({ wrap: (store) => new CountingStore(store) });
    h.runner.scripts.running = (phase) => {
      if (phase.taskId.endsWith("77")) throw new Error("no");
    };
    for (let n = 0; n < 3; n += 1) {
      const ids = Array.from({ length: 1_000 }, (_, i) => `t${n * 1_000 + i}`);
      const labels = (id: string) => ({ big: String(id.length), last: String(id.endsWith("5")), rare: id.slice(-2) });
      await h.controller.launchTasks(ids.map((taskId) => ({ taskId, labels: labels(taskId) })));
      await h.clock.advance(1_000);
    }
    await h.settle();
    const cost = async (options: QueryOptions): Promise<[number, number]> => {
      loads = 0;
      const { tasks } = await h.controller.queryTasks({ order: "newest", pageSize: 100, ...options });
      return [tasks.length, loads];
    };
    const failed = await cost({ states: [StateFailed] });
    expect([failed[0], failed[1] <= 3 * 30]).toEqual([30, true]);
    const rare = await cost({ labels: { big: "5", rare: "42" } });
    expect([rare[0], rare[1] <= 3 * 30]).toEqual([20, true]);
    // Most of them match: the walk ends when the page is full.
    expect((await cost({ states: [StateCompleted] }))[1]).toBeLessThan(400);
    // None of them matches, and no index says so.
    const none = await cost({ labels: { last: "false", big: "5" }, idPrefix: "x" });
    expect(none).toEqual([0, 0]);
    for (const [pageSize, looksMax] of [
      [1, 16],
      [100, 1_000],
      [1_000, 2_000],
    ] as const) {
      [loads, looks] = [0, 0];
      const page = await h.controller.queryTasks({ order: "newest", pageSize, idPrefix: "zzz" });
      expect([page.tasks.length, page.nextPageToken !== "", loads]).toEqual([0, true, 0]);
      expect(looks).toBeGreaterThan(0);
      expect(looks).toBeLessThanOrEqual(looksMax);
    }
    const failedIds = await h.query({ order: "newest", states: [StateFailed], pageSize: 7 });
    expect(failedIds.slice(0, 11)).toEqual([...Array(10).keys()].map((i) => `t2${i}77`).concat("t1077"));
  });

  test.each([
    ["ASCII", "x"],
    ["characters of three bytes", "€"],
  ])("stops a page at 2 MiB, counted in bytes, with %s", async (_, unit) => {
    await using h = await openHarness();
    h.runner.scripts.running = () => undefined;
    const text = unit.repeat(Math.floor((200 * 1024) / Buffer.byteLength(unit)));
    for (let i = 0; i < 30; i += 1) await h.launch(`t${i}`, { metadata: { text } });
    await h.settle();
    const pages = await h.pages({ include: { metadata: true } });
    expect(pages.flatMap((page) => page.tasks)).toHaveLength(30);
    for (const page of pages) {
      const bytes = page.tasks.reduce((sum, task) => sum + Buffer.byteLength(task.status.metadata), 0);
      expect(bytes).toBeLessThan(2 * 1024 * 1024 + 200 * 1024);
    }
    expect(pages.length).toBe(3);
    expect(await h.pages()).toHaveLength(1);
  });

  test.each([
    ["the message of an error", () => ({ message: "e".repeat(4_000) })],
    [
      "its details",
      () => ({ details: { output: "o".repeat(1_000), ["k".repeat(1_000)]: "", input: "i".repeat(2_000) } }),
    ],
  ])("stops a page at 2 MiB of progress and %s too", async (_, init) => {
    await using h = await openHarness();
    h.runner.scripts.running = async (phase) => {
      await phase.task.setProgress({ current: 1, message: "p".repeat(4_000) });
      throw Object.assign(new Error("failed"), { taskError: create(TaskErrorSchema, init()) });
    };
    for (let i = 0; i < 600; i += 1) await h.launch(`t${i}`);
    await h.settle();
    const pages = await h.pages({ pageSize: 1_000 });
    expect(pages.length).toBe(3);
    expect(pages.flatMap((page) => page.tasks)).toHaveLength(600);
  });
});

/** Texts that are short in bytes and long in JSON. */
test("a page fits into an answer in JSON too, whatever its texts are made of", async () => {
  await using h = await openHarness();
  h.runner.scripts.running = async (phase) => {
    const entries = Array.from({ length: 15 }, () => phase.task.addLogEntry("info", "\u0001".repeat(16_000)));
    await Promise.all(entries);
    throw new Error("\u0002".repeat(4_000));
  };
  const metadata = { text: '"\\'.repeat(40_000) };
  for (let i = 0; i < 12; i += 1) await h.launch(`t${i}`, { metadata });
  await h.settle();
  const pages = await h.pages({ include: { metadata: true, logs: true } });
  expect(pages.flatMap((page) => page.tasks)).toHaveLength(12);
  for (const page of pages) {
    const tasks = page.tasks.map(({ taskId, status, revision }) => ({ taskId, status, revision }));
    const json = toJsonString(ListTasksResponseSchema, create(ListTasksResponseSchema, { tasks }));
    expect(Buffer.byteLength(json)).toBeLessThan(4 * 1024 * 1024);
  }
  const transitions = await h.pages({ pageSize: 1_000 });
  expect(transitions.length).toBeLessThan(3);
});

test("a page of tasks with many transitions fits into an answer in JSON", async () => {
  await using h = await openHarness();
  const transition = create(StateTransitionSchema, { state: 1, timestamp: timestampFromMs(1_700_000_000_123) });
  const status = create(TaskStatusSchema, { state: 4, transitions: Array(256).fill(transition) });
  const store = createKVStore(h.disk);
  for (let i = 0; i < 230; i += 1) await store.put(`/tasks/tests/t${i}`, status);
  const pages = await h.pages({ pageSize: 1_000 });
  expect(pages.flatMap((page) => page.tasks)).toHaveLength(230);
  for (const page of pages) {
    const tasks = page.tasks.map(({ taskId, status: shown, revision }) => ({ taskId, status: shown, revision }));
    const json = toJsonString(ListTasksResponseSchema, create(ListTasksResponseSchema, { tasks }));
    expect(Buffer.byteLength(json)).toBeLessThan(3 * 1024 * 1024);
  }
  for (let i = 0; i < 230; i += 1) await store.delete(`/tasks/tests/t${i}`);
});

describe("a page token", () => {
  test("goes on where the page ended while tasks come, go and change their states", async () => {
    await using h = await openHarness();
    const letters = ["a", "b", "c", "d", "e", "f", "g", "h"];
    await fill(
      h,
      letters.map((letter) => `${letter}-run`),
    );
    for (const order of ["id", "newest"] as const) {
      const first = await h.controller.queryTasks({ pageSize: 3, order });
      const seen = first.tasks.map((task) => task.taskId);
      await h.launch(`aa-${order}`);
      await h.launch(`zz-${order}`);
      const gone = order === "id" ? "e-run" : "d-run";
      await h.controller.cancelTask(gone);
      (await h.runner.phase(gone)).stop();
      await h.settle();
      await h.controller.deleteTask(gone);
      let token = first.nextPageToken;
      while (token !== "") {
        const page = await h.controller.queryTasks({ pageSize: 3, order, pageToken: token });
        seen.push(...page.tasks.map((task) => task.taskId));
        token = page.nextPageToken;
      }
      expect(new Set(seen).size).toBe(seen.length);
      for (const letter of ["a", "b", "c", "f", "g", "h"]) expect(seen).toContain(`${letter}-run`);
      expect(seen).not.toContain(gone);
    }
  });

  test("outlives a restart", async () => {
    await using h = await openHarness();
    await fill(h, ["a", "b", "c", "d"]);
    const first = await h.controller.queryTasks({ pageSize: 2 });
    await h.crash();
    const second = await h.controller.queryTasks({ pageSize: 2, pageToken: first.nextPageToken });
    expect(second.tasks.map((task) => task.taskId)).toEqual(["c", "d"]);
    expect([second.nextPageToken, second.revision]).toEqual(["", first.revision]);
  });

  test("of another query is refused, and so is one that is none", async () => {
    await using h = await openHarness();
    await fill(h, ["a", "b", "c"]);
    const { nextPageToken: pageToken } = await h.controller.queryTasks({ pageSize: 1, labels: { parity: "even" } });
    expect(pageToken).not.toBe("");
    const bad: QueryOptions[] = [
      { pageToken },
      { pageToken, labels: { parity: "odd" } },
      { pageToken, labels: { parity: "even" }, order: "newest" },
      { pageToken, labels: { parity: "even" }, states: [StateRunning] },
      { pageToken, labels: { parity: "even" }, idPrefix: "a" },
      { pageToken: "x", labels: { parity: "even" } },
      { pageToken: "e30", labels: { parity: "even" } },
      // The revision of its first page is one that the store has not reached, and that no answer could hold.
      { pageToken: atRevision(pageToken, "99999999999999999999"), labels: { parity: "even" } },
      { pageToken: atRevision(pageToken, "1000000"), labels: { parity: "even" } },
      { pageToken: "\u0000\ud800" },
    ];
    for (const options of bad)
      expect(await invalidFields(h.controller.queryTasks(options)), JSON.stringify(options)).toEqual(["page_token"]);
    // Another page size is the same query.
    expect((await h.controller.queryTasks({ pageToken, labels: { parity: "even" }, pageSize: 9 })).tasks).toHaveLength(
      1,
    );
  });

  test("that was made up never fails with anything but INVALID_ARGUMENT", async () => {
    await using h = await openHarness();
    await fill(h, ["a", "b", "c"]);
    const { nextPageToken } = await h.controller.queryTasks({ pageSize: 1 });
    const [query] = JSON.parse(Buffer.from(nextPageToken, "base64url").toString()) as [string];
    const part = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constant("0"),
      fc.constant(query),
      fc.integer(),
      fc.constant(null),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(part, { maxLength: 4 }), async (parts) => {
        const pageToken = Buffer.from(JSON.stringify([query, "1", ...parts].slice(0, 3))).toString("base64url");
        try {
          await h.controller.queryTasks({ pageToken, pageSize: 2 });
        } catch (error) {
          expect(error).toMatchObject({ code: "INVALID_ARGUMENT" });
        }
      }),
      { numRuns: 300 },
    );
  });
});

function atRevision(pageToken: string, revision: string): string {
  const [query, , after] = JSON.parse(Buffer.from(pageToken, "base64url").toString()) as string[];
  return Buffer.from(JSON.stringify([query, revision, after])).toString("base64url");
}

test("a query with bad options is refused, and names them", async () => {
  await using h = await openHarness();
  expect(await invalidFields(h.controller.queryTasks({ pageSize: -1 }))).toEqual(["page_size"]);
  expect(await invalidFields(h.controller.queryTasks({ idPrefix: "\ud800" }))).toEqual(["id_prefix"]);
  expect(await invalidFields(h.controller.queryTasks({ labels: { a: "\ud800" } }))).toEqual(["labels"]);
  expect(await invalidFields(h.controller.queryTasks({ labels: { "\udfff": "a" }, pageSize: -5 }))).toEqual([
    "page_size",
    "labels",
  ]);
});

test("counts are right after every step of a task", async () => {
  await using h = await openHarness({ concurrency: 1 });
  const counts = async (): Promise<string> => {
    await h.check();
    return [...(await h.controller.countTasks())]
      .map(([state, count]) => `${state}:${count}`)
      .sort()
      .join(" ");
  };
  expect(await counts()).toBe("");
  h.runner.scripts.pending = "hold";
  await h.launch("a");
  await h.launch("b");
  expect(await counts()).toBe("1:2");
  (await h.runner.phase("a", "pending")).return();
  await h.settle();
  expect(await counts()).toBe("1:1 2:1");
  (await h.runner.phase("a")).throw(new Error("no"));
  await h.settle();
  expect(await counts()).toBe("1:1 4:1");
  await h.controller.cancelTask("b");
  (await h.runner.phase("b", "pending")).stop();
  await h.settle();
  expect(await counts()).toBe("4:1 6:1");
  await h.launch("b");
  expect(await counts()).toBe("1:1 4:1");
  await h.crash();
  expect(await counts()).toBe("1:1 4:1");
  await h.controller.deleteTask("a");
  expect(await counts()).toBe("1:1");
});

test("the clock of two processes may differ, and lists are whole all the same", async () => {
  await using h = await openHarness();
  await fill(h, ["a", "b"]);
  await h.crash({ clock: createFakeClock({ wallMs: 1_000 }) });
  await h.launch("c");
  expect(await h.query({ order: "newest" })).toEqual(["b", "a", "c"]);
  expect((await refusal(h.controller.queryTasks({ pageSize: -1 }))).code).toBe("INVALID_ARGUMENT");
});
