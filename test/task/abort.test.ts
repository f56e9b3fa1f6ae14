import { describe, expect, test } from "vitest";
import {
  type AbortKind,
  AbortReason,
  isAbortThrow,
  outranks,
  PhaseAbort,
  judge,
  type PhaseOutcome,
  type Verdict,
} from "../../src/task/abort.ts";

type Row = [kind: AbortKind | undefined, returned: Verdict, aborted: Verdict, threw: Verdict, lost: Verdict];

// "Why a signal was aborted decides what its outcome means", written out by hand (docs/state-machine.md has it as the code does).
const runningRows: readonly Row[] = [
  ["CANCEL", "complete", "cancel", "fail", "cancel"],
  ["SHUTDOWN", "complete", "leave", "leave", "leave"],
  ["RESTART", "discard", "discard", "discard", "discard"],
  ["LOST_FENCE", "discard", "discard", "discard", "discard"],
  ["TIMEOUT", "complete", "fail-timeout", "fail", "fail-timeout"],
  [undefined, "complete", "fail", "fail", "resume"],
];
// onTaskPending's return does not finish the work: it leads on, or to where the task was told to go.
const pendingRows: readonly Row[] = [
  ["CANCEL", "cancel", "cancel", "fail", "cancel"],
  ["SHUTDOWN", "leave", "leave", "leave", "leave"],
  ["RESTART", "discard", "discard", "discard", "discard"],
  ["LOST_FENCE", "discard", "discard", "discard", "discard"],
  ["TIMEOUT", "start", "fail-timeout", "fail", "fail-timeout"],
  [undefined, "start", "fail", "fail", "resume"],
];

describe("what the outcome of a phase means", () => {
  test.each(runningRows)("when onTaskRunning was aborted by %s", (kind, returned, aborted, threw, lost) => {
    expect(verdicts("running", kind)).toEqual({ returned, aborted, threw, lost, left: "leave" });
  });
  test.each(pendingRows)("when onTaskPending was aborted by %s", (kind, returned, aborted, threw, lost) => {
    expect(verdicts("pending", kind)).toEqual({ returned, aborted, threw, lost, left: "leave" });
  });
});

function verdicts(phase: "pending" | "running", kind: AbortKind | undefined): Record<PhaseOutcome, Verdict> {
  return {
    returned: judge(phase, kind, "returned"),
    aborted: judge(phase, kind, "aborted"),
    threw: judge(phase, kind, "threw"),
    lost: judge(phase, kind, "lost"),
    left: judge(phase, kind, "left"),
  };
}

describe("an abort throw", () => {
  const { signal, reason } = abortedSignal();

  test("is the abort reason itself", () => {
    expect(isAbortThrow(reason, signal)).toBe(true);
  });
  test("is an error whose chain of causes ends in the reason", () => {
    expect(isAbortThrow(new Error("a", { cause: reason }), signal)).toBe(true);
    expect(isAbortThrow(new TypeError("a", { cause: new Error("b", { cause: reason }) }), signal)).toBe(true);
    expect(isAbortThrow({ cause: { cause: { cause: reason } } }, signal)).toBe(true);
  });
  test("is an AbortError, of whatever making", () => {
    expect(isAbortThrow(new DOMException("aborted", "AbortError"), signal)).toBe(true);
    expect(isAbortThrow({ name: "AbortError" }, signal)).toBe(true);
    expect(isAbortThrow(new AbortReason("SHUTDOWN"), signal)).toBe(true);
  });
  test("is what throwIfAborted and fetch-like functions throw", () => {
    expect(
      isAbortThrow(
        thrownBy(() => signal.throwIfAborted()),
        signal,
      ),
    ).toBe(true);
  });
  test("may be a reason that is no object", () => {
    const controller = new AbortController();
    controller.abort("stop");
    expect(isAbortThrow("stop", controller.signal)).toBe(true);
    expect(isAbortThrow("go", controller.signal)).toBe(false);
  });
  test("is nothing that is thrown before the abort", () => {
    const open = new AbortController();
    for (const thrown of [open.signal.reason, undefined, new AbortReason("CANCEL"), { name: "AbortError" }]) {
      expect(isAbortThrow(thrown, open.signal)).toBe(false);
    }
  });

  const nasty: ReadonlyArray<[string, unknown]> = [
    ["undefined", undefined],
    ["null", null],
    ["a number", 0],
    ["a string", "AbortError"],
    ["a symbol", Symbol("AbortError")],
    ["a bigint", 1n],
    ["a function named AbortError", Object.defineProperty(() => {}, "name", { value: "AbortError" })],
    ["an ordinary error", new Error("no")],
    ["an error caused by another", new Error("no", { cause: new Error("other") })],
    [
      "a getter name that throws",
      {
        get name(): string {
          throw new Error("name");
        },
      },
    ],
    [
      "a getter cause that throws",
      {
        get cause(): unknown {
          throw new Error("cause");
        },
      },
    ],
    [
      "a proxy whose every trap throws",
      new Proxy(
        {},
        {
          get: () => {
            throw new Error("trap");
          },
        },
      ),
    ],
    ["a revoked proxy", revokedProxy()],
    ["a cause that is itself", selfCaused()],
    ["two causes of each other", causedByEachOther()],
    [
      "a chain of causes that never ends",
      new Proxy({}, { get: (_, key, self) => (key === "cause" ? self : undefined) }),
    ],
    ["an object without a prototype", Object.create(null)],
    ["an AbortError only as the cause", new Error("no", { cause: new DOMException("x", "AbortError") })],
  ];
  test.each(nasty)("is not %s, and looking does not throw", (_, thrown) => {
    expect(isAbortThrow(thrown, signal)).toBe(false);
  });
});

test("an abort reason is an AbortError that says which it is", () => {
  for (const kind of ["CANCEL", "SHUTDOWN", "RESTART", "LOST_FENCE", "TIMEOUT"] as const) {
    const reason = new AbortReason(kind);
    expect(reason).toBeInstanceOf(Error);
    expect(reason).toMatchObject({ name: "AbortError", kind, message: expect.stringMatching(/.{10}/) });
  }
});

describe("a run that is told to stop again", () => {
  const kinds = ["CANCEL", "SHUTDOWN", "RESTART", "LOST_FENCE", "TIMEOUT"] as const;

  test("is judged by a cancel from then on, and by the loss of the fence for good", () => {
    const news = kinds.flatMap((before) =>
      kinds.filter((kind) => outranks(kind, before)).map((kind) => [before, kind]),
    );
    expect(news).toEqual([
      ["CANCEL", "LOST_FENCE"],
      ["SHUTDOWN", "CANCEL"],
      ["SHUTDOWN", "LOST_FENCE"],
      ["RESTART", "CANCEL"],
      ["RESTART", "LOST_FENCE"],
      ["TIMEOUT", "CANCEL"],
      ["TIMEOUT", "LOST_FENCE"],
    ]);
    expect(kinds.every((kind) => outranks(kind, undefined))).toBe(true);
  });

  test("finds why in the reason that its signal has already, which stays the same object", () => {
    const abort = new PhaseAbort();
    expect(abort.signal.aborted).toBe(false);
    const { signal } = abort;
    abort.abort("RESTART");
    const reason = signal.reason as AbortReason;
    abort.abort("CANCEL");
    abort.abort("TIMEOUT");
    expect(abort.signal).toBe(signal);
    expect(signal.reason).toBe(reason);
    expect(reason).toMatchObject({ kind: "CANCEL", message: "the task was canceled" });
  });

  test("is the same for who asks for its signal when it has fired", () => {
    const abort = new PhaseAbort();
    abort.abort("SHUTDOWN", Object.assign(new AbortReason("SHUTDOWN"), { message: "in other words" }));
    expect(abort.signal).toMatchObject({ aborted: true, reason: { kind: "SHUTDOWN", message: "in other words" } });
    const late = new PhaseAbort();
    late.abort("TIMEOUT");
    late.abort("CANCEL");
    expect(late.signal.reason).toMatchObject({ kind: "CANCEL", message: "the task was canceled" });
  });
});

function abortedSignal(): { signal: AbortSignal; reason: AbortReason } {
  const controller = new AbortController();
  const reason = new AbortReason("CANCEL");
  controller.abort(reason);
  return { signal: controller.signal, reason };
}

function thrownBy(call: () => void): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

function revokedProxy(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

function selfCaused(): Error {
  const error = new Error("self");
  error.cause = error;
  return error;
}

function causedByEachOther(): Error {
  const a = new Error("a");
  a.cause = new Error("b", { cause: a });
  return a;
}
