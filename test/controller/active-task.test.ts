import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { JsonObject, ProgressInit, StandardSchema } from "../../src/controller/task-runner.ts";
import { invalidFields, openHarness } from "../support/controller-harness.ts";
import { FaultPlan, FaultStore } from "../support/fault-store.ts";

describe("loadTaskMetadata", () => {
  test("gives the object that the task was launched with, or undefined", async () => {
    await using h = await openHarness();
    const metadata: JsonObject = { n: 1, text: "ä😀", nested: { list: [1, null, true] } };
    await h.launch("a", { metadata });
    await h.launch("b", { jsonMetadata: ' {"big": 12345678901234567890, "n": 1} ' });
    await h.launch("c");
    await h.launch("d", { jsonMetadata: " \n" });
    await h.launch("e", { metadata: { text: "x".repeat(200_000) } });
    const load = async (id: string) => (await h.runner.phase(id)).task.loadTaskMetadata();
    expect(await load("a")).toEqual(metadata);
    expect(await load("b")).toEqual({ big: 12345678901234567890, n: 1 });
    expect((await h.controller.taskStatus("b")).metadata).toBe(' {"big": 12345678901234567890, "n": 1} ');
    expect([await load("c"), await load("d")]).toEqual([undefined, undefined]);
    expect(((await load("e"))?.text as string).length).toBe(200_000);
    const text = async (id: string) => (await h.runner.phase(id)).task.loadJsonMetadata();
    expect(await text("b")).toBe(' {"big": 12345678901234567890, "n": 1} ');
    expect(await text("c")).toBe("");
    expect((await text("e")).length).toBe(200_011);
  });

  test("validates and types with a Standard Schema, such as zod's", async () => {
    await using h = await openHarness();
    await h.launch("a", { metadata: { limit: 5 } });
    await h.launch("none");
    const schema = z.object({ limit: z.number(), step: z.number().default(2) });
    const phase = await h.runner.phase("a");
    const loaded: { limit: number; step: number } = await phase.task.loadTaskMetadata(schema);
    expect(loaded).toEqual({ limit: 5, step: 2 });
    expect(await (await h.runner.phase("none")).task.loadTaskMetadata(z.undefined())).toBeUndefined();
  });

  test("rejects with everything the schema objects to, and fails the task with that where it is not caught", async () => {
    await using h = await openHarness();
    h.runner.scripts.running = (phase) => phase.task.loadTaskMetadata(z.object({ a: z.number(), b: z.string() }));
    await h.launch("a", { metadata: { a: "x" } });
    await h.launch("none");
    await h.settle();
    for (const id of ["a", "none"]) {
      const { state, error } = await h.controller.taskStatus(id);
      expect([state, error?.reason]).toEqual([4, "RUNNER_ERROR"]);
      expect(error?.message).toMatch(/^metadata: /);
    }
    expect((await h.controller.taskStatus("a")).error?.message).toMatch(/number.*string/s);
  });

  test("takes a schema that is asynchronous, or throws", async () => {
    await using h = await openHarness();
    await h.launch("a", { metadata: { n: 1 } });
    const { task } = await h.runner.phase("a");
    const of = (validate: (value: unknown) => never): StandardSchema<unknown> => ({
      "~standard": { version: 1, vendor: "test", validate },
    });
    expect(await task.loadTaskMetadata(of((async (value: unknown) => ({ value: [value] })) as never))).toEqual([
      { n: 1 },
    ]);
    await expect(
      task.loadTaskMetadata(
        of((() => {
          throw new Error("broken schema");
        }) as never),
      ),
    ).rejects.toThrow("broken schema");
    await expect(
      task.loadTaskMetadata(of((async () => ({ issues: [{ message: "one" }, { message: "two" }] })) as never)),
    ).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: "metadata: one; metadata: two" });
  });
});

describe("setProgress", () => {
  const good: ReadonlyArray<[ProgressInit, object]> = [
    [{ current: 0 }, { current: 0n, total: 0n, message: "", unit: "" }],
    [
      { current: 3, total: 10, message: "m", unit: "bytes" },
      { current: 3n, total: 10n, message: "m", unit: "bytes" },
    ],
    [
      { current: 2n ** 64n - 1n, total: 2n ** 64n - 1n },
      { current: 2n ** 64n - 1n, total: 2n ** 64n - 1n },
    ],
    [{ current: Number.MAX_SAFE_INTEGER }, { current: BigInt(Number.MAX_SAFE_INTEGER) }],
    [
      { current: 5, total: 3 },
      { current: 5n, total: 3n },
    ],
    [{ current: 1, message: "€".repeat(1_365) }, { message: "€".repeat(1_365) }],
  ];
  test.each(good)("takes %o", async (init, progress) => {
    await using h = await openHarness();
    await h.launch("a");
    const { task } = await h.runner.phase("a");
    expect(await task.getProgress()).toBeUndefined();
    await task.setProgress(init);
    expect(await task.getProgress()).toMatchObject(progress);
    expect((await h.stored("a"))?.status.progress).toMatchObject(progress);
  });

  const bad: ReadonlyArray<[string, unknown, string[]]> = [
    ["a negative number", { current: -1 }, ["progress.current"]],
    ["a fraction", { current: 1.5 }, ["progress.current"]],
    ["NaN", { current: Number.NaN }, ["progress.current"]],
    ["infinity", { current: 1, total: Number.POSITIVE_INFINITY }, ["progress.total"]],
    ["a number that is not exact", { current: 2 ** 53 }, ["progress.current"]],
    ["a bigint of more than 64 bits", { current: 2n ** 64n }, ["progress.current"]],
    ["text", { current: "1" }, ["progress.current"]],
    ["nothing", undefined, ["progress.current"]],
    ["null", null, ["progress.current"]],
    ["a message that is too long", { current: 1, message: "x".repeat(4_097) }, ["progress.message"]],
    ["a message of too many bytes", { current: 1, message: "€".repeat(1_366) }, ["progress.message"]],
    ["half of a surrogate pair", { current: 1, unit: "\ud800" }, ["progress.unit"]],
    [
      "everything wrong",
      { current: {}, total: -1, message: 5, unit: [] },
      ["progress.current", "progress.total", "progress.message", "progress.unit"],
    ],
  ];
  test.each(bad)("refuses %s and changes nothing", async (_, init, fields) => {
    await using h = await openHarness();
    await h.launch("a");
    const { task } = await h.runner.phase("a");
    await task.setProgress({ current: 7 });
    const before = await h.controller.readTask("a");
    expect(await invalidFields(task.setProgress(init as ProgressInit))).toEqual(fields);
    expect(await h.controller.readTask("a")).toEqual(before);
    expect((await h.controller.taskStatus("a")).state).toBe(2);
  });

  test("can be read at once, before it is on disk", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const { task } = await h.runner.phase("a");
    const written = task.setProgress({ current: 9 });
    expect((await task.getProgress())?.current).toBe(9n);
    await written;
  });

  test("can be read while its commit is under way, and while the store fails", async () => {
    const plan = new FaultPlan();
    await using h = await openHarness({ wrap: (store) => new FaultStore(store, plan) });
    await h.launch("a");
    const { task } = await h.runner.phase("a");
    await task.setProgress({ current: 8 });
    plan.add({ at: plan.counts.commit + 1, of: "commit", kind: "hang", lasting: true });
    const written = task.setProgress({ current: 9 });
    await h.settle();
    expect(plan.isFailing).toBe(true);
    expect((await task.getProgress())?.current).toBe(9n);
    plan.heal();
    await h.clock.advance(1_000);
    await written;
    expect((await task.getProgress())?.current).toBe(9n);
  });

  test("of an attempt begins with what was kept, and is none where none was", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const first = await h.runner.phase("a");
    expect(await first.task.getProgress()).toBeUndefined();
    await first.task.setProgress({ current: 3, total: 4, unit: "files" });
    await h.crash();
    const second = await h.runner.phase("a");
    expect(await second.task.getProgress()).toMatchObject({ current: 3n, total: 4n, unit: "files" });
  });
});

describe("addLogEntry", () => {
  test("takes slog's levels by name and any whole number of 32 bits, and keeps the time", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const { task } = await h.runner.phase("a");
    for (const level of ["debug", "info", "warn", "error", 2, -100, 2 ** 31 - 1] as const) {
      await task.addLogEntry(level, `at ${level}`);
      await h.clock.advance(1_000);
    }
    const { logs, logCount } = await h.controller.taskStatus("a");
    expect(logs.map((entry) => entry.level)).toEqual([-4, 0, 4, 8, 2, -100, 2 ** 31 - 1]);
    expect(logs.map((entry) => entry.seq)).toEqual([1n, 2n, 3n, 4n, 5n, 6n, 7n]);
    expect(logCount).toBe(7n);
    const seconds = logs.map((entry) => Number(entry.timestamp?.seconds));
    expect(seconds.map((each) => each - (seconds[0] ?? 0))).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  test.each(["loud", "", "toString", "__proto__", 1.5, 2 ** 31, Number.NaN, null, undefined, {}, Symbol("s")])(
    "refuses the level %s",
    async (level) => {
      await using h = await openHarness();
      await h.launch("a");
      const { task } = await h.runner.phase("a");
      expect(await invalidFields(task.addLogEntry(level as never, "x"))).toEqual(["level"]);
      expect((await h.controller.taskStatus("a")).logCount).toBe(0n);
    },
  );

  test("cuts entries at 16 KiB, never inside a character, and takes anything that is text", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const { task } = await h.runner.phase("a");
    const texts: unknown[] = [
      "x".repeat(16 * 1024),
      "x".repeat(16 * 1024 + 1),
      "€".repeat(10_000),
      "",
      "\ud800",
      42,
      undefined,
    ];
    for (const text of texts) await task.addLogEntry("info", text as string);
    const { logs } = await h.controller.taskStatus("a");
    expect(logs.map((entry) => Buffer.byteLength(entry.msg) <= 16 * 1024)).toEqual(texts.map(() => true));
    expect(logs[0]?.msg).toBe(texts[0]);
    expect(logs[1]?.msg).toMatch(/^x{16000,}… \(cut\)$/);
    expect(logs[2]?.msg).toMatch(/^€{5000,}… \(cut\)$/);
    expect(logs.slice(3).map((entry) => entry.msg)).toEqual(["", "\ufffd", "42", "undefined"]);
  });

  test("is not copied into the process log", async () => {
    await using h = await openHarness();
    await h.launch("a");
    await (await h.runner.phase("a")).task.addLogEntry("error", "secret");
    expect(JSON.stringify(h.logged.map((each) => each.message))).not.toContain("secret");
  });
});
