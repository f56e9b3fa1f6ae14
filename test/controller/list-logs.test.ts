import { create, toJsonString } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { LogEntrySchema, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import { ListTaskLogsResponseSchema } from "#gen/stint/v1/controller_pb.js";
import type { LogPage, LogsOptions } from "../../src/controller/controller.ts";
import type { LogLevel } from "../../src/controller/task-runner.ts";
import { logKey, logsPrefix, taskKey } from "../../src/store/keys.ts";
import type { Entry, ScanOptions } from "../../src/store/store.ts";
import { createKVStore } from "../../src/store/task-store.ts";
import { controllerName, type Harness, invalidFields, openHarness, refusal } from "../support/controller-harness.ts";
import { CutStore } from "../support/cut-store.ts";
import { damageEntries } from "../support/damaged-store.ts";
import { GatedStore } from "../support/gated-store.ts";

/** A task that runs and has said so much, `together` entries in each commit. */
async function withEntries(
  h: Harness,
  count: number,
  options: { together?: number; text?: string; level?: (i: number) => LogLevel } = {},
) {
  const { together = 1, text = "entry", level = () => "info" } = options;
  await h.launch("a");
  const phase = await h.runner.phase("a");
  for (let i = 0; i < count; i += together) {
    const entries = Array.from({ length: Math.min(together, count - i) }, (_, k) => i + k);
    await Promise.all(entries.map((n) => phase.task.addLogEntry(level(n), text)));
  }
  return phase;
}

async function pages(h: Harness, options: LogsOptions = {}): Promise<LogPage[]> {
  const all: LogPage[] = [];
  let pageToken = "";
  do {
    const page = await h.controller.taskLogs("a", { ...options, pageToken });
    all.push(page);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return all;
}

function seqs(page: LogPage | readonly LogPage[]): number[] {
  return [page].flat().flatMap(({ entries }) => entries.map(({ seq }) => Number(seq)));
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

describe("the pages of a log", () => {
  test.each([1, 7, 40, 1_000])("have every entry once, oldest first, by %s to a commit", async (together) => {
    await using h = await openHarness();
    await withEntries(h, 205, { together });
    for (const pageSize of [1, 3, 64, 204, 205, 206, 1_000]) {
      const read = await pages(h, { pageSize });
      expect(seqs(read)).toEqual(range(1, 205));
      expect(Math.max(...read.map((page) => page.entries.length))).toBeLessThanOrEqual(pageSize);
      // The last full page knows that it is the last.
      expect(read.length).toBe(Math.ceil(205 / pageSize));
    }
    const first = await h.controller.taskLogs("a");
    expect([first.entries.length, first.entries[0]]).toEqual([
      100,
      expect.objectContaining({ msg: "entry", level: 0, seq: 1n, timestamp: expect.anything() as unknown }),
    ]);
  });

  test("have 100 entries unless more are asked for, and 1,000 at most", async () => {
    await using h = await openHarness();
    await withEntries(h, 1_100, { together: 500 });
    const sizes = async (pageSize?: number) => (await pages(h, { pageSize })).map((page) => page.entries.length);
    expect((await sizes()).slice(0, 2)).toEqual([100, 100]);
    expect((await sizes(0))[0]).toBe(100);
    expect(await sizes(9_999)).toEqual([1_000, 100]);
  });

  test("stop at 2 MiB, with at least one entry", async () => {
    await using h = await openHarness();
    await withEntries(h, 600, { together: 50, text: "€".repeat(5_000) });
    const read = await pages(h, { pageSize: 1_000 });
    expect(seqs(read)).toEqual(range(1, 600));
    for (const page of read) {
      const bytes = page.entries.reduce((sum, entry) => sum + Buffer.byteLength(entry.msg), 0);
      expect(bytes).toBeLessThanOrEqual(2 * 1024 * 1024 + 16 * 1024);
    }
    expect(read.length).toBeGreaterThan(3);
  });

  test("fit into an answer in JSON too, whatever was logged", async () => {
    await using h = await openHarness();
    await withEntries(h, 100, { together: 20, text: "\u0000".repeat(16_000) });
    const read = await pages(h, { pageSize: 1_000 });
    expect(seqs(read)).toEqual(range(1, 100));
    for (const page of read) {
      const answer = create(ListTaskLogsResponseSchema, { entries: [...page.entries] });
      const json = toJsonString(ListTaskLogsResponseSchema, answer);
      expect(Buffer.byteLength(json)).toBeLessThan(3 * 1024 * 1024);
    }
  });

  test("begin after a seq", async () => {
    await using h = await openHarness();
    await withEntries(h, 20, { together: 6 });
    for (const afterSeq of [0n, 1n, 5n, 6n, 7n, 19n]) {
      expect(seqs(await pages(h, { afterSeq, pageSize: 4 }))).toEqual(range(Number(afterSeq) + 1, 20));
    }
    for (const afterSeq of [20n, 21n, 2n ** 64n - 1n]) {
      expect(await h.controller.taskLogs("a", { afterSeq })).toEqual({ entries: [], nextPageToken: "" });
    }
  });

  test("can be of a level and above, and then look at a bounded number of entries each", async () => {
    await using h = await openHarness();
    const level = (i: number): LogLevel => (i === 3 ? -8 : i % 100 === 99 ? "error" : i % 10 === 0 ? "warn" : "info");
    await withEntries(h, 500, { together: 50, level });
    const of = async (minLevel: number, pageSize?: number) => seqs(await pages(h, { minLevel, pageSize }));
    expect(await of(8)).toEqual([100, 200, 300, 400, 500]);
    expect((await of(4, 7)).length).toBe(55);
    expect(await of(-4)).toEqual(range(1, 500).filter((seq) => seq !== 4));
    expect(await of(-8)).toEqual(range(1, 500));
    expect(await of(9)).toEqual([]);
    const errors = await pages(h, { minLevel: 8, pageSize: 2 });
    // 20 entries looked at for 2 that the page may have.
    expect(errors.length).toBeGreaterThanOrEqual(25);
    expect(errors[0]).toMatchObject({ entries: [], nextPageToken: expect.stringMatching(/./) as unknown });
    // An entry that is the last is on a page that is the last.
    expect(errors.at(-1)?.nextPageToken).toBe("");
  });

  test("cost what a page costs, however long the log is", async () => {
    const scanned: Entry[] = [];
    class CountingStore extends CutStore {
      override async scan(options: ScanOptions): Promise<Entry[]> {
        const entries = await super.scan(options);
        if (options.prefix.startsWith("/logs/")) scanned.push(...entries);
        return entries;
      }
    }
    await using h = await openHarness({ wrap: (store) => new CountingStore(store) });
    await withEntries(h, 3_000);
    for (const afterSeq of [0n, 1_500n, 2_950n]) {
      scanned.length = 0;
      await h.controller.taskLogs("a", { afterSeq, pageSize: 20 });
      expect(scanned.length).toBeLessThanOrEqual(8 + 16);
      scanned.length = 0;
      await h.controller.taskLogs("a", { afterSeq, pageSize: 1 });
      expect(scanned.length).toBe(2);
    }
  });

  test("of a task without entries are one, empty", async () => {
    await using h = await openHarness();
    await h.launch("a");
    expect(await h.controller.taskLogs("a")).toEqual({ entries: [], nextPageToken: "" });
    expect((await refusal(h.controller.taskLogs("b"))).code).toBe("NOT_FOUND");
  });

  test("show the entries that a program put into the status itself", async () => {
    await using h = await openHarness();
    const logs = ["one", "two", "three"].map((msg, i) => create(LogEntrySchema, { msg, level: i * 4 }));
    const status = create(TaskStatusSchema, { state: 3, logs });
    await createKVStore(h.disk).put(taskKey(controllerName, "a"), status);
    expect(seqs(await pages(h, { pageSize: 2 }))).toEqual([1, 2, 3]);
    expect(seqs(await pages(h, { pageSize: 1, minLevel: 4 }))).toEqual([2, 3]);
    expect((await h.controller.taskLogs("a", { afterSeq: 2n })).entries[0]?.msg).toBe("three");
    await createKVStore(h.disk).delete(taskKey(controllerName, "a"));
  });
});

describe("a page token of a log", () => {
  test("outlives a restart, and goes on with what is appended meanwhile", async () => {
    await using h = await openHarness();
    await withEntries(h, 10);
    const first = await h.controller.taskLogs("a", { pageSize: 4 });
    await h.crash();
    await (await h.runner.phase("a")).task.addLogEntry("warn", "later");
    const read = await pages(h, { pageSize: 4 });
    expect(seqs(read)).toEqual(range(1, 11));
    const rest = await h.controller.taskLogs("a", { pageToken: first.nextPageToken, afterSeq: 9n });
    expect([seqs(rest), rest.nextPageToken]).toEqual([range(5, 11), ""]);
  });

  test("goes on behind what is dropped meanwhile", async () => {
    await using h = await openHarness({ limits: { logMaxEntries: 20 } });
    const phase = await withEntries(h, 15);
    const first = await h.controller.taskLogs("a", { pageSize: 3 });
    expect(seqs(first)).toEqual([1, 2, 3]);
    for (let i = 0; i < 12; i += 1) await phase.task.addLogEntry("info", "more");
    const status = await h.controller.taskStatus("a");
    const oldest = Number(status.logsDropped) + 1;
    expect(oldest).toBeGreaterThan(4);
    const rest = await h.controller.taskLogs("a", { pageToken: first.nextPageToken });
    expect(seqs(rest)).toEqual(range(oldest, 27));
    expect(seqs(await pages(h, { pageSize: 2 }))).toEqual(range(oldest, 27));
  });

  test("of a log that a launch has cleared ends there; the new one begins behind it", async () => {
    await using h = await openHarness();
    (await withEntries(h, 10)).return();
    await h.settle();
    const first = await h.controller.taskLogs("a", { pageSize: 3 });
    await withEntries(h, 5);
    expect(await h.controller.taskLogs("a", { pageToken: first.nextPageToken })).toEqual({
      entries: [],
      nextPageToken: "",
    });
    expect(seqs(await pages(h, { pageSize: 2 }))).toEqual(range(11, 15));
    expect(seqs(await pages(h, { afterSeq: 3n }))).toEqual(range(11, 15));
  });

  test("never leads into the log of a launch that clears the one it is of while it is read", async () => {
    let store: GatedStore | undefined;
    await using h = await openHarness({ wrap: (inner) => (store = new GatedStore(inner)) });
    (await withEntries(h, 10)).return();
    await h.settle();
    store?.hold(logsPrefix(controllerName, "a"));
    const page = h.controller.taskLogs("a", { afterSeq: 5n });
    await h.settle();
    await withEntries(h, 5);
    store?.release();
    expect(seqs(await page).filter((seq) => seq > 10)).toEqual([]);
    expect((await page).nextPageToken).toBe("");
  });

  test("of a log that a launch has kept goes on in it", async () => {
    await using h = await openHarness();
    (await withEntries(h, 6)).throw(new Error("no"));
    await h.settle();
    const first = await h.controller.taskLogs("a", { pageSize: 3 });
    await withEntries(h, 2);
    const rest = await h.controller.taskLogs("a", { pageToken: first.nextPageToken });
    expect(rest.entries.map((entry) => entry.msg)).toEqual([
      ...Array<string>(3).fill("entry"),
      "restarting; the run before was Failed",
      "entry",
      "entry",
    ]);
  });

  test("of a task that was deleted ends; its id's new task has a log of its own", async () => {
    await using h = await openHarness();
    (await withEntries(h, 6)).return();
    await h.settle();
    const { nextPageToken: pageToken } = await h.controller.taskLogs("a", { pageSize: 3 });
    await h.controller.deleteTask("a");
    expect((await refusal(h.controller.taskLogs("a", { pageToken }))).code).toBe("NOT_FOUND");
    await withEntries(h, 6);
    expect(await h.controller.taskLogs("a", { pageToken })).toEqual({ entries: [], nextPageToken: "" });
  });

  test("of other pages is refused, and so is one that is none", async () => {
    await using h = await openHarness();
    await withEntries(h, 6);
    await h.launch("b");
    const { nextPageToken: pageToken } = await h.controller.taskLogs("a", { pageSize: 2, minLevel: 0 });
    const { nextPageToken: ofTasks } = await h.controller.queryTasks({ pageSize: 1 });
    const bad: LogsOptions[] = [
      { pageToken },
      { pageToken, minLevel: 4 },
      { pageToken: ofTasks },
      { pageToken: "x", minLevel: 0 },
      { pageToken: Buffer.from('["x","y","0"]').toString("base64url") },
    ];
    for (const options of bad)
      expect(await invalidFields(h.controller.taskLogs("a", options)), JSON.stringify(options)).toEqual(["page_token"]);
    expect(await invalidFields(h.controller.taskLogs("b", { pageToken, minLevel: 0 }))).toEqual(["page_token"]);
    // A place in it that nobody gave out leads nowhere.
    const [query] = JSON.parse(Buffer.from(pageToken, "base64url").toString()) as [string];
    for (const place of [
      ["", "", ""],
      ["g", "0", "x"],
      ["g", "0", "-1"],
      ["g", "0"],
      ["g", "0", 1],
      ["g", "0", "1", "1"],
      ["g/h", "0", "1"],
    ]) {
      const made = Buffer.from(JSON.stringify([query, ...place])).toString("base64url");
      expect(await invalidFields(h.controller.taskLogs("a", { pageToken: made, minLevel: 0 }))).toEqual(["page_token"]);
    }
    const foreign = Buffer.from(JSON.stringify([query, "g", "0", "1"])).toString("base64url");
    expect(await h.controller.taskLogs("a", { pageToken: foreign, minLevel: 0 })).toMatchObject({ entries: [] });
  });
});

test("a damaged chunk is DATA_LOSS that says where the log goes on, and what lies before it is shown", async () => {
  await using h = await openHarness();
  await withEntries(h, 30, { together: 10 });
  const { generation } = (await h.stored("a"))?.record ?? { generation: "" };
  const damaged = logKey(controllerName, "a", generation, 20n);
  await h.crash({ wrap: (store) => damageEntries(store, (key) => key === damaged) });
  const first = await h.controller.taskLogs("a");
  expect(seqs(first)).toEqual(range(1, 10));
  for (const options of [{ pageToken: first.nextPageToken }, { afterSeq: 15n }]) {
    const error = await refusal(h.controller.taskLogs("a", options));
    expect(error).toMatchObject({
      code: "DATA_LOSS",
      details: { reason: "CORRUPT", metadata: { after_seq: "20" }, resource: { type: "task", name: "tests/a" } },
    });
  }
  expect(seqs(await h.controller.taskLogs("a", { afterSeq: 20n }))).toEqual(range(21, 30));
  await h.crash();
});

test("entries that come while pages are read are each seen once", async () => {
  await using h = await openHarness();
  const phase = await withEntries(h, 50, { together: 7 });
  const writing = (async () => {
    for (let i = 0; i < 150; i += 1) await phase.task.addLogEntry("info", "more");
  })();
  const read: number[] = [];
  let pageToken = "";
  for (let afterSeq = 0n; read.length < 200; ) {
    const page: LogPage = await h.controller.taskLogs("a", { pageToken, pageSize: 9, afterSeq });
    read.push(...seqs(page));
    pageToken = page.nextPageToken;
    afterSeq = page.entries.at(-1)?.seq ?? afterSeq;
  }
  await writing;
  expect(read).toEqual(range(1, 200));
});

test("what is asked for wrongly is refused, and named", async () => {
  await using h = await openHarness();
  const bad: LogsOptions = { pageSize: -1, minLevel: 0.5, afterSeq: -1n };
  expect(await invalidFields(h.controller.taskLogs("..", bad))).toEqual([
    "task_id",
    "page_size",
    "min_level",
    "after_seq",
  ]);
  expect(await invalidFields(h.controller.taskLogs("a", { afterSeq: 2n ** 64n }))).toEqual(["after_seq"]);
});
