import { describe, expect, test } from "vitest";
import { openHarness } from "../support/controller-harness.ts";
import type { Phase } from "../support/scripted-runner.ts";

const trap = (): never => {
  throw new Error("trap");
};
const allTraps = new Proxy(
  {},
  { get: trap, has: trap, getPrototypeOf: trap, ownKeys: trap, getOwnPropertyDescriptor: trap },
);

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

function deepCause(): Error {
  let error = new Error("deepest");
  for (let i = 0; i < 10_000; i += 1) error = new Error(`level ${i}`, { cause: error });
  return error;
}

class Hostile extends Error {
  override get message(): string {
    throw new Error("message");
  }
  override get name(): string {
    throw new Error("name");
  }
  override get stack(): string {
    throw new Error("stack");
  }
  override toString(): string {
    throw new Error("toString");
  }
}

// What onTaskRunning does, and what the task's error says then.
const failing: ReadonlyArray<[what: string, run: (phase: Phase) => unknown, message: RegExp]> = [
  [
    "throws at once",
    () => {
      throw new Error("at once");
    },
    /^at once$/,
  ],
  ["rejects", () => Promise.reject(new Error("later")), /^later$/],
  [
    "throws undefined",
    () => {
      throw undefined;
    },
    /undefined/,
  ],
  ["rejects with undefined", () => Promise.reject(undefined), /undefined/],
  [
    "throws null",
    () => {
      throw null;
    },
    /^null$/,
  ],
  [
    "throws a number",
    () => {
      throw 7;
    },
    /^7$/,
  ],
  [
    "throws text",
    () => {
      throw "text";
    },
    /^text$/,
  ],
  [
    "throws empty text",
    () => {
      throw "";
    },
    /^$/,
  ],
  [
    "throws a symbol",
    () => {
      throw Symbol("s");
    },
    /Symbol\(s\)/,
  ],
  [
    "throws a bigint",
    () => {
      throw 5n;
    },
    /^5$/,
  ],
  [
    "throws a function",
    () => {
      throw () => {};
    },
    /./,
  ],
  [
    "throws an object without a message",
    () => {
      throw {};
    },
    /without a message/,
  ],
  [
    "throws an object without a prototype",
    () => {
      throw Object.create(null);
    },
    /without a message/,
  ],
  [
    "throws an error whose message is no text",
    () => {
      throw { message: 5 };
    },
    /without a message/,
  ],
  [
    "throws an error whose message is empty",
    () => {
      throw new RangeError("");
    },
    /RangeError/,
  ],
  [
    "throws an error whose getters throw",
    () => {
      throw new Hostile();
    },
    /cannot be shown/,
  ],
  [
    "throws a proxy whose every trap throws",
    () => {
      throw allTraps;
    },
    /cannot be shown/,
  ],
  [
    "throws a revoked proxy",
    () => {
      throw revoked();
    },
    /cannot be shown/,
  ],
  [
    "throws a value whose conversion throws",
    () => {
      throw Object.assign(() => {}, { toString: trap, [Symbol.toPrimitive]: trap });
    },
    /cannot be shown/,
  ],
  [
    "throws an error that causes itself",
    () => {
      const e = new Error("self");
      e.cause = e;
      throw e;
    },
    /^self$/,
  ],
  [
    "throws a very long chain of causes",
    () => {
      throw deepCause();
    },
    /^level 9999$/,
  ],
  [
    "throws a very long message",
    () => {
      throw new Error("x".repeat(10_000_000));
    },
    /^x{4000,}… \(cut\)$/,
  ],
  [
    "throws a message of halves of pairs",
    () => {
      throw new Error("\ud800".repeat(5_000));
    },
    /^\ufffd+… \(cut\)$/,
  ],
  [
    "throws an AbortError without an abort",
    () => {
      throw new DOMException("mine", "AbortError");
    },
    /^mine$/,
  ],
  ["throws an aggregate error", () => Promise.any([Promise.reject(new Error("a"))]), /./],
  [
    "returns a thenable whose then throws",
    () => ({
      get then(): never {
        throw new Error("then");
      },
    }),
    /^then$/,
  ],
  [
    "returns a thenable that rejects and then resolves",
    () => ({
      then: (_: unknown, no: (e: unknown) => void) => {
        no(new Error("first"));
      },
    }),
    /^first$/,
  ],
  ["returns a result that is a proxy whose every trap throws", () => ({ inner: allTraps }), /JSON/],
  ["returns a promise of a function", async () => () => {}, /function/],
  [
    "overflows the stack",
    () => {
      const f = (): number => f() + 1;
      return f();
    },
    /stack/,
  ],
  ["sets a bad progress", (phase) => phase.task.setProgress({ current: -1 }), /progress.current/],
  [
    "sets a progress whose getter throws",
    (phase) =>
      phase.task.setProgress({
        get current(): number {
          throw new Error("getter");
        },
      }),
    /^getter$/,
  ],
  ["sets no progress at all", (phase) => phase.task.setProgress(undefined as never), /progress.current/],
  ["logs at a level that is none", (phase) => phase.task.addLogEntry("loud" as never, "x"), /level/],
  ["logs at a level that every object has", (phase) => phase.task.addLogEntry("constructor" as never, "x"), /level/],
  ["logs something that cannot be text", (phase) => phase.task.addLogEntry("info", Object.create(null)), /./],
  ["throws in a getter of what it returns", () => ({ toJSON: trap }), /trap/],
];

describe("a runner that", () => {
  test.each(failing)("%s fails its own task only", async (_, run, message) => {
    await using h = await openHarness();
    h.runner.scripts.running = (phase) => (phase.taskId === "bad" ? run(phase) : phase.settled);
    await h.launch("before");
    await h.launch("bad");
    await h.launch("after");
    await h.settle();
    const { state, error } = await h.controller.taskStatus("bad");
    expect([state, error?.reason]).toEqual([4, "RUNNER_ERROR"]);
    expect(error?.message).toMatch(message);
    expect(await h.states("before", "after")).toEqual(["Running", "Running"]);
    for (const phase of h.runner.all("before", "running")) phase.return();
    for (const phase of h.runner.all("after", "running")) phase.return();
    await h.settle();
    expect(await h.states("before", "after")).toEqual(["Completed", "Completed"]);
  });

  test.each(failing)("%s in onTaskPending fails its own task only", async (_, run) => {
    await using h = await openHarness();
    // What it returns there does not matter; what it throws does.
    const threw = { value: false };
    h.runner.scripts.pending = async (phase) => {
      if (phase.taskId !== "bad") return;
      try {
        await run(phase);
      } catch (error) {
        threw.value = true;
        throw error;
      }
    };
    await h.launch("bad");
    await h.launch("good");
    await h.settle();
    expect(await h.states("bad", "good")).toEqual([threw.value ? "Failed" : "Running", "Running"]);
  });

  test.each(failing)("%s in onTaskCompleted counts as told, and is logged", async (_, run) => {
    await using h = await openHarness();
    const threw = { value: false };
    h.runner.scripts.completed = async (phase) => {
      try {
        await run(phase);
      } catch (error) {
        threw.value = true;
        throw error;
      }
    };
    const ends: number[] = [];
    await h.launch("bad", { onState: (state) => ends.push(state) });
    (await h.runner.phase("bad")).return();
    await h.settle();
    expect(await h.state("bad")).toBe("Completed");
    expect(ends).toEqual([3]);
    expect(await h.keys("/deliveries/")).toEqual([]);
    expect(h.messages("warn")).toEqual(threw.value ? ["onTaskCompleted threw"] : []);
  });

  test("never settles stays in its phase, and harms nobody", async () => {
    await using h = await openHarness({ concurrency: 2 });
    await h.launch("bad");
    for (const id of ["a", "b", "c"]) {
      await h.launch(id);
      (await h.runner.phase(id)).return();
    }
    await h.settle();
    expect(await h.states("bad", "a", "b", "c")).toEqual(["Running", "Completed", "Completed", "Completed"]);
  });

  test("has phases that are no functions fails its tasks", async () => {
    await using h = await openHarness({
      runner: { onTaskPending: 5 as never, onTaskRunning: () => {}, onTaskCompleted: "no" as never },
    });
    await h.launch("a");
    await h.settle();
    expect(await h.state("a")).toBe("Failed");
    await using other = await openHarness({ runner: { onTaskRunning: () => {}, onTaskCompleted: "no" as never } });
    await other.launch("a");
    await other.settle();
    expect(await other.state("a")).toBe("Completed");
    expect(await other.keys("/deliveries/")).toEqual([]);
  });

  test.each(["onTaskPending", "onTaskRunning", "onTaskCompleted"] as const)(
    "has an %s that cannot be read fails its tasks, or counts as told",
    async (name) => {
      const runner = { onTaskPending: () => {}, onTaskRunning: () => {}, onTaskCompleted: () => {} };
      const reads = { count: 0 };
      Object.defineProperty(runner, name, {
        get: () => {
          reads.count += 1;
          // The opening looks at it once.
          if (reads.count > 1) throw new Error("getter");
          return () => {};
        },
      });
      await using h = await openHarness({ runner });
      for (const id of ["a", "b"]) {
        await h.launch(id);
        await h.settle();
        expect(await h.state(id)).toMatch(name === "onTaskCompleted" ? /Completed/ : /Completed|Failed/);
        expect(await h.keys("/deliveries/")).toEqual([]);
      }
      expect(reads.count).toBeGreaterThanOrEqual(2);
    },
  );

  test("has neither onTaskPending nor onTaskCompleted runs its tasks all the same", async () => {
    await using h = await openHarness({ runner: { onTaskRunning: () => 1 } });
    await h.launch("a");
    await h.settle();
    expect(await h.transitions("a")).toEqual(["Pending", "Running", "Completed"]);
  });

  test("writes after its end is refused, and the end stays as it is", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const phase = await h.runner.phase("a");
    await phase.task.setProgress({ current: 1 });
    phase.return("done");
    await h.settle();
    const before = await h.controller.readTask("a");
    await expect(phase.task.setProgress({ current: 2 })).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
    await expect(phase.task.addLogEntry("info", "late")).rejects.toMatchObject({ details: { reason: "STALE_FENCE" } });
    expect(await h.controller.readTask("a")).toEqual(before);
    // Reading is no harm.
    expect((await phase.task.getProgress())?.current).toBe(1n);
  });

  test("forgets to wait for writes that are refused does not end the process", async () => {
    await using h = await openHarness();
    const unhandled: unknown[] = [];
    const note = (error: unknown): void => void unhandled.push(error);
    process.on("unhandledRejection", note);
    try {
      await h.launch("a");
      const phase = await h.runner.phase("a");
      void phase.task.addLogEntry("loud" as never, "x");
      void phase.task.setProgress({ current: -1 });
      phase.return();
      await h.settle();
      void phase.task.setProgress({ current: 2 });
      void phase.task.addLogEntry("info", "late");
      await h.launch("b");
      const [completed] = h.runner.all("a", "completed");
      void completed?.task.setProgress({ current: 2 });
      void completed?.task.addLogEntry("info", "late");
      await h.settle();
    } finally {
      process.off("unhandledRejection", note);
    }
    expect(unhandled).toEqual([]);
  });

  test("settles twice, and late, changes nothing", async () => {
    await using h = await openHarness();
    h.runner.scripts.running = () => ({
      then: (yes: (v: unknown) => void, no: (e: unknown) => void) => {
        yes(1);
        yes(2);
        no(new Error("x"));
      },
    });
    await h.launch("a");
    await h.settle();
    expect(await h.controller.taskStatus("a")).toMatchObject({ state: 3, result: "1" });
  });

  test("is replaced and goes on writing writes nothing into the new run", async () => {
    await using h = await openHarness();
    await h.launch("a");
    const old = await h.runner.phase("a");
    await old.task.setProgress({ current: 1 });
    await h.launch("a", { metadata: { n: 2 } });
    old.stop();
    const next = await h.runner.phase("a");
    await expect(old.task.setProgress({ current: 99 })).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
    await expect(old.task.addLogEntry("info", "zombie")).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
    expect((await next.task.getProgress())?.current).toBe(1n);
    expect((await h.controller.taskStatus("a")).logs).toEqual([]);
  });
});
