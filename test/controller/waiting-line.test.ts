import fc from "fast-check";
import { expect, test } from "vitest";
import { Lifetime } from "../../src/async/lifetime.ts";
import type { Core } from "../../src/controller/core.ts";
import { WaitingLine } from "../../src/controller/waiting-line.ts";
import { listPrefix, waitingKey } from "../../src/store/keys.ts";
import { openMemoryStore } from "../../src/store/memory.ts";

const prefix = listPrefix("waiting", "c");

test("a line hands out everybody once, the oldest first, whatever its window and however takes and pushes mix", async () => {
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.constant("join" as const) },
    { weight: 2, arbitrary: fc.constant("take" as const) },
    fc.constant("leave" as const),
    fc.constant("join twice out of order" as const),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 60 }),
      fc.integer({ min: 1, max: 5 }),
      fc.nat(8),
      async (steps, windowMax, before) => {
        const store = await openMemoryStore();
        const lifetime = new Lifetime(() => new Error("closed"));
        const line = new WaitingLine({ name: "c", store, lifetime } as unknown as Core, windowMax);
        const there: number[] = [];
        let next = 0;
        const put = async (n: number): Promise<void> => {
          await store.commit([{ type: "index", key: waitingKey("c", BigInt(n), `t${n}`), value: new Uint8Array(0) }]);
        };
        const take = async (): Promise<boolean> => {
          // What has left the line is skipped by whoever takes it, as the dispatcher does.
          for (;;) {
            const taken = await line.take();
            if (taken === undefined) return false;
            const n = Number(taken.queueNumber);
            if (!there.includes(n)) continue;
            expect(n).toBe(Math.min(...there));
            there.splice(there.indexOf(n), 1);
            await store.commit([{ type: "unindex", key: waitingKey("c", BigInt(n), `t${n}`) }]);
            return true;
          }
        };
        for (; next < before; next += 1) {
          await put(next);
          there.push(next);
        }
        for (const each of steps) {
          if (each === "join") {
            await put(next);
            there.push(next);
            line.push({ queueNumber: BigInt(next), taskId: `t${next}` });
            next += 1;
          } else if (each === "join twice out of order") {
            // Two launches took their numbers in one order and were committed in the other.
            for (const n of [next + 1, next]) {
              await put(n);
              there.push(n);
              line.push({ queueNumber: BigInt(n), taskId: `t${n}` });
            }
            next += 2;
          } else if (each === "leave") {
            const n = there.shift();
            if (n !== undefined) await store.commit([{ type: "unindex", key: waitingKey("c", BigInt(n), `t${n}`) }]);
          } else {
            const had = there.length > 0;
            expect(await take()).toBe(had);
          }
          if (line.isEmpty) expect(there).toEqual([]);
        }
        while (there.length > 0) expect(await take()).toBe(true);
        expect(await take()).toBe(false);
        expect(line.isEmpty).toBe(true);
        expect(await store.scan({ prefix, limit: 1 })).toEqual([]);
      },
    ),
    { numRuns: 500 },
  );
});

test("one that was stored after a page of the line was read, and before those in it, is in the line all the same", async () => {
  const store = await openMemoryStore();
  const lifetime = new Lifetime(() => new Error("closed"));
  const put = async (n: number): Promise<void> => {
    await store.commit([{ type: "index", key: waitingKey("c", BigInt(n), `t${n}`), value: new Uint8Array(0) }]);
  };
  let afterScan = async (): Promise<void> => {};
  const scan: typeof store.scan = async (options) => {
    const page = await store.scan(options);
    await afterScan();
    return page;
  };
  const slow = { scan };
  const line = new WaitingLine({ name: "c", store: slow, lifetime } as unknown as Core);
  await put(3);
  // As runs do that go back to their old places, and launches that were overtaken.
  afterScan = async () => {
    afterScan = async () => {};
    for (const n of [2, 4, 1]) {
      await put(n);
      line.push({ queueNumber: BigInt(n), taskId: `t${n}` });
    }
  };
  const taken: bigint[] = [];
  for (let next = await line.take(); next !== undefined; next = await line.take()) taken.push(next.queueNumber);
  expect(taken).toEqual([1n, 2n, 3n, 4n]);
  expect(line.isEmpty).toBe(true);
});
