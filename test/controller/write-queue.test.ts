import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ProgressSchema } from "#gen/core/v1/core_pb.js";
import {
  type Batch,
  createLogEntry,
  rejectBatch,
  resolveBatch,
  RunWrites,
  type SaidAtOnce,
} from "../../src/controller/run-writes.ts";

const progressOf = (n: number) => create(ProgressSchema, { current: BigInt(n) });
const entry = (msg: string) => createLogEntry(0, msg, 0);

function said(seq: number, options: { progress?: number; msgs?: readonly string[] } = {}): SaidAtOnce {
  const { progress, msgs = [] } = options;
  return {
    seq: BigInt(seq),
    progress: progress === undefined ? undefined : progressOf(progress),
    entries: msgs.map(entry),
  };
}

/** What a batch has: its seq, its progress, its entries. */
function shape({ seq, progress, entries }: Batch) {
  return [Number(seq), progress === undefined ? undefined : Number(progress.current), entries.map(({ msg }) => msg)];
}

describe("writes that wait", () => {
  test("are taken together, with the newest progress, all entries, and the highest seq", () => {
    const writes = new RunWrites();
    void writes.write(said(1, { progress: 1, msgs: ["a"] }));
    void writes.write(said(2, { msgs: ["b", "c"] }));
    void writes.write(said(3, { progress: 2 }));
    void writes.write(said(4));
    expect(shape(writes.take())).toEqual([4, 2, ["a", "b", "c"]]);
    expect([writes.isEmpty, writes.newestProgress?.current]).toEqual([true, 2n]);
  });

  test("are taken whole, as many as a chunk holds, each batch with the progress that was said up to its end", () => {
    const writes = new RunWrites();
    const [x, y, z] = ["x", "y", "z"].map((letter) => letter.repeat(60 * 1024));
    void writes.write(said(1, { progress: 1, msgs: [x ?? ""] }));
    void writes.write(said(2, { progress: 2, msgs: [y ?? ""] }));
    void writes.write(said(3, { progress: 3, msgs: ["short", z ?? ""] }));
    expect(writes.isOverfull).toBe(true);
    expect(shape(writes.take())).toEqual([2, 2, [x, y]]);
    expect(writes.isOverfull).toBe(false);
    expect(shape(writes.take())).toEqual([3, 3, ["short", z]]);
  });

  test("of which none has a seq have none together", () => {
    const writes = new RunWrites();
    void writes.setProgress(progressOf(1));
    void writes.addLogEntry(0, "a", 0);
    expect(writes.take().seq).toBeUndefined();
  });

  test("that could not be written come before what was said since, and are taken again whole", () => {
    const writes = new RunWrites();
    void writes.write(said(1, { progress: 1, msgs: ["a"] }));
    const batch = writes.take();
    void writes.write(said(2, { progress: 2 }));
    writes.putBack(batch);
    expect(shape(writes.take())).toEqual([2, 2, ["a"]]);
  });

  test("and say nothing are answered like the others", async () => {
    const writes = new RunWrites();
    const answered = writes.write(said(1));
    expect(writes.isEmpty).toBe(false);
    resolveBatch(writes.take());
    await answered;
  });

  test("are answered each with its own batch", async () => {
    const writes = new RunWrites();
    const big = "x".repeat(100 * 1024);
    const answers: string[] = [];
    const all = [1, 2, 3].map((seq) =>
      writes.write(said(seq, { msgs: [big] })).then(
        () => answers.push(`${seq} stored`),
        () => answers.push(`${seq} refused`),
      ),
    );
    resolveBatch(writes.take());
    await Promise.resolve();
    expect(answers).toEqual(["1 stored"]);
    rejectBatch(writes.takeAll(), new Error("no"));
    await Promise.all(all);
    expect(answers).toEqual(["1 stored", "2 refused", "3 refused"]);
  });

  test("a hundred thousand at a time cost no more each than a few", () => {
    const writes = new RunWrites();
    for (let i = 1; i <= 100_000; i += 1) void writes.setProgress(progressOf(i));
    const batch = writes.take();
    expect([batch.progress?.current, batch.waiters.length]).toEqual([100_000n, 1]);
  });

  const write = fc.record({
    progress: fc.option(fc.nat(99), { nil: undefined }),
    sizes: fc.array(fc.constantFrom(1, 1_000, 16 * 1024), { maxLength: 6 }),
  });
  const steps = fc.array(
    fc.oneof({ weight: 3, arbitrary: write }, fc.constantFrom("take" as const, "fail" as const, "stop" as const)),
    { maxLength: 40 },
  );

  test("lose, repeat, split and reorder nothing, however they are taken and put back", () => {
    fc.assert(
      fc.property(steps, (steps) => {
        const writes = new RunWrites();
        const spoken: SaidAtOnce[] = [];
        const answers: Promise<void>[] = [];
        const stored: Batch[] = [];
        for (const step of [...steps, ...steps.map(() => "take" as const)]) {
          if (step === "stop") break;
          if (step === "take") {
            if (!writes.isEmpty) stored.push(writes.take());
          } else if (step === "fail") {
            if (!writes.isEmpty) writes.putBack(writes.take());
          } else {
            const msgs = step.sizes.map((size, i) => `${spoken.length}.${i} `.padEnd(size, "."));
            const next = said(spoken.length + 1, { msgs, ...(step.progress !== undefined && step) });
            spoken.push(next);
            answers.push(writes.write(next));
          }
        }
        if (!writes.isEmpty) stored.push(writes.takeAll());
        let from = 0;
        for (const batch of stored) {
          const part = spoken.slice(from, Number(batch.seq));
          expect(batch.entries).toEqual(part.flatMap(({ entries }) => entries));
          expect(batch.progress).toEqual(part.findLast(({ progress }) => progress !== undefined)?.progress);
          // Who waits for a write is told by the batch that has it; some share a promise.
          const told = answers.slice(from, Number(batch.seq));
          const waiting = new Set(batch.waiters.map(({ promise }) => promise));
          expect(told.every((answer) => waiting.has(answer))).toBe(true);
          expect(waiting.size).toBe(new Set(told).size);
          from = Number(batch.seq);
        }
        expect(from).toBe(spoken.length);
      }),
    );
  });
});
