import { setImmediate as nextRound } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { Core } from "../../src/controller/core.ts";
import { TaskActor } from "../../src/controller/task-actor.ts";
import { SeededRandom } from "../support/seeded-random.ts";

const createActor = (): TaskActor => new TaskActor({ name: "tests" } as unknown as Core, "t");
const throwing = (): never => {
  throw new Error("thrown at once");
};

describe("the turns of a task", () => {
  test("never overlap and keep the order in which they were asked for, however they end", async () => {
    for (let seed = 1; seed <= 50; seed += 1) {
      const random = new SeededRandom(seed);
      const actor = createActor();
      const begun: number[] = [];
      const all: Promise<unknown>[] = [];
      let inside = 0;
      let asked = 0;
      const ask = (depth: number): void => {
        const id = asked;
        asked += 1;
        const turn = async (): Promise<void> => {
          begun.push(id);
          inside += 1;
          expect(inside).toBe(1);
          for (let ticks = random.int(0, 3); ticks > 0; ticks -= 1) await Promise.resolve();
          if (depth > 0 && random.chance(0.5)) ask(depth - 1);
          inside -= 1;
          if (random.chance(0.25)) throw new Error("rejected");
        };
        const isThrowing = random.chance(0.1);
        const whole = (): Promise<void> => {
          if (!isThrowing) return turn();
          begun.push(id);
          return throwing();
        };
        all.push(Promise.allSettled([actor.serialize(whole)]));
      };
      for (let i = 0; i < 8; i += 1) {
        ask(3);
        if (random.chance(0.5)) await Promise.resolve();
      }
      for (let i = 0; i < all.length; i += 1) await all[i];
      expect(begun, `seed ${seed}`).toEqual(Array.from({ length: asked }, (_, id) => id));
    }
  });

  test("go on after one that throws at once, which is a rejection, whether it had to wait or not", async () => {
    const actor = createActor();
    const first = actor.serialize(throwing);
    const second = actor.serialize(throwing);
    await expect(first).rejects.toThrow("thrown at once");
    await expect(second).rejects.toThrow("thrown at once");
    const next = actor.serialize(async () => "runs");
    expect(await Promise.race([next, nextRound("waits for ever")])).toBe("runs");
  });

  test("may be rejected without anybody who takes it, whether they had to wait or not", async () => {
    const strays: unknown[] = [];
    const note = (error: unknown): void => void strays.push(error);
    process.on("unhandledRejection", note);
    try {
      const actor = createActor();
      for (let i = 0; i < 3; i += 1) void actor.serialize(() => Promise.reject(new Error("rejected")));
      await actor.serialize(async () => {});
      await nextRound();
      await nextRound();
    } finally {
      process.off("unhandledRejection", note);
    }
    expect(strays).toEqual([]);
  });
});
