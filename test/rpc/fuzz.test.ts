/** Requests of every kind with values that nobody expects, over a controller that is one. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { create, type DescMethod, type MessageInitShape, toJsonString } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type CancelTaskRequestSchema,
  type GetTaskStatusRequestSchema,
  type LaunchTaskRequestSchema,
  type ListTasksRequestSchema,
  TaskControllerService,
  type WatchTaskRequestSchema,
} from "#gen/stint/v1/controller_pb.js";
import { openController } from "../../src/controller/open-controller.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import { StatePending, StateRunning } from "../../src/task/state.ts";
import { serveFake } from "../support/served-fake.ts";

const runs = Number(process.env["FUZZ_RUNS"] ?? 300);

const hostile = fc.constantFrom(
  "",
  " ",
  "a",
  "b:c@d.e-f",
  "../a",
  "%2e%2e%2fetc",
  "a/b",
  "a\u0000b",
  "\u202eevil",
  "\u001b[2J",
  "\ufeffa",
  "é",
  "😀",
  "__proto__",
  "constructor",
  "toString",
  "x".repeat(127),
  "x".repeat(128),
  "x".repeat(129),
  "x".repeat(5_000),
  "null",
  "{}",
  '{"a":1}',
  '{"a":',
  "[]",
  `{"a":${"[".repeat(31)}${"]".repeat(31)}}`,
  `{"a":${"[".repeat(2_000)}`,
);
const text = fc.oneof(
  hostile,
  fc.string({ unit: "binary", maxLength: 20 }).map((each) => each.toWellFormed()),
);
/** Good in most requests, so that there is one thing wrong with many, and nothing with some. */
const mostly = <T, U>(good: fc.Arbitrary<T>, bad: fc.Arbitrary<U>): fc.Arbitrary<T | U> =>
  fc.oneof({ weight: 20, arbitrary: good }, { weight: 1, arbitrary: bad });
const id = mostly(fc.constantFrom("a", "b", "c"), text);
const controller = mostly(fc.constant("tests"), text);
const word = mostly(fc.constantFrom("", "", "", "x"), text);
const uint64 = fc.oneof(fc.constantFrom(0n, 1n, 2n, 3n, 2n ** 63n, 2n ** 64n - 1n), fc.bigInt({ min: 0n, max: 50n }));
const revision = mostly(fc.constant(undefined), uint64);
const enumValue = (max: number) => mostly(fc.integer({ min: 0, max }), fc.constantFrom(-1, 99, 2 ** 31 - 1));
const dictionary = mostly(
  fc.dictionary(fc.constantFrom("env", "team"), fc.constantFrom("", "x")),
  fc.dictionary(text, text, { maxKeys: 4 }),
);
const number = fc.oneof(fc.constantFrom(0, -0, 1e300, 2 ** 53, 2 ** 53 + 2, -1.5), fc.integer());
const jsonObject = fc.dictionary(text, fc.oneof(text, number, fc.boolean(), fc.constant(null), fc.array(number)), {
  maxKeys: 3,
});
const path = mostly(fc.constantFrom("state", "progress.current", "logs", "metadata"), text);
const mask = fc.option(fc.record({ paths: fc.array(path, { maxLength: 4 }) }), { nil: undefined });
const payload = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ case: undefined }) },
  { weight: 1, arbitrary: fc.record({ case: fc.constant("jsonMetadata" as const), value: text }) },
  { weight: 1, arbitrary: fc.record({ case: fc.constant("metadata" as const), value: jsonObject }) },
);
const seconds = mostly(fc.constant(0n), fc.constantFrom(-1n, 315_576_000_001n, 2n ** 63n - 1n));
const nanos = mostly(fc.constantFrom(0, 1_000), fc.constantFrom(-1, 1_000_000_000, 2 ** 31 - 1));

const launch: fc.Arbitrary<MessageInitShape<typeof LaunchTaskRequestSchema>> = fc.record({
  controller,
  taskId: id,
  payload,
  labels: dictionary,
  ifActive: enumValue(3),
  ifEnded: enumValue(4),
  requestId: word,
  ifRevision: revision,
});
const cancel: fc.Arbitrary<MessageInitShape<typeof CancelTaskRequestSchema>> = fc.record({
  controller,
  taskId: id,
  reason: word,
  wait: fc.record({ seconds, nanos }),
  runId: mostly(fc.constant(""), text),
  ifRevision: revision,
});
const get: fc.Arbitrary<MessageInitShape<typeof GetTaskStatusRequestSchema>> = fc.record({
  controller,
  taskId: id,
  revision: mostly(fc.constant(0n), uint64),
  readMask: mask,
  logLimit: mostly(fc.constantFrom(0, 1, 1_000), fc.constantFrom(1_001, 2 ** 32 - 1)),
});
const list: fc.Arbitrary<MessageInitShape<typeof ListTasksRequestSchema>> = fc.record({
  controller,
  pageSize: fc.constantFrom(0, 1, 1_000, 2 ** 32 - 1),
  pageToken: mostly(fc.constant(""), text),
  states: fc.array(enumValue(6), { maxLength: 4 }),
  labels: dictionary,
  idPrefix: word,
  readMask: mask,
  orderBy: enumValue(2),
});
const watch: fc.Arbitrary<MessageInitShape<typeof WatchTaskRequestSchema>> = fc.record({
  controller,
  taskId: id,
  sinceRevision: mostly(fc.constant(0n), uint64),
  includeLogs: fc.boolean(),
  waitForLaunch: mostly(fc.constant(false), fc.constant(true)),
  runId: mostly(fc.constant(""), text),
});

const { method } = TaskControllerService;
const request = fc.oneof(
  launch.map((message) => [method.launchTask, message] as const),
  cancel.map((message) => [method.cancelTask, message] as const),
  get.map((message) => [method.getTaskStatus, message] as const),
  list.map((message) => [method.listTasks, message] as const),
  watch.map((message) => [method.watchTask, message] as const),
);

/** What a client's mistake, or its leaving, may be called. */
const allowed = [
  Code.Canceled,
  Code.InvalidArgument,
  Code.DeadlineExceeded,
  Code.NotFound,
  Code.AlreadyExists,
  Code.ResourceExhausted,
  Code.FailedPrecondition,
  Code.Aborted,
  Code.OutOfRange,
];

/** Whether JSON can say it: what it cannot never leaves the client. */
function isJson({ input }: DescMethod, message: object): boolean {
  try {
    return toJsonString(input, create(input, message as never)) !== "";
  } catch {
    return false;
  }
}

describe("any request", () => {
  test(`is answered, or refused for what it is, and changes nothing then: ${runs} of them`, {
    timeout: 60_000 + 100 * runs,
  }, async () => {
    const store = await openMemoryStore();
    const runner = { onTaskRunning: async () => {} };
    await using tasks = await openController({ name: "tests", store, runner, retention: { afterEndMs: 3_600_000 } });
    await using served = await serveFake({ controllers: [tasks] });
    const clients = [served.client("grpc"), served.client("connect-json")] as const;
    const seen = { answered: 0, refused: 0, refusedInQuiet: 0 };

    /** Waits until what was launched before has ended by itself: then nothing but a request changes the store. */
    async function settle() {
      let last = store.revision();
      for (let quiet = 0; quiet < 10; quiet += 1) {
        await nextTurn();
        if (store.revision() !== last) quiet = 0;
        last = store.revision();
      }
      const counts = await tasks.countTasks();
      return {
        revision: store.revision(),
        isQuiet: (counts.get(StatePending) ?? 0n) + (counts.get(StateRunning) ?? 0n) === 0n,
      };
    }

    async function call(client: (typeof clients)[0], { methodKind, localName }: DescMethod, message: object) {
      const options = { timeoutMs: 10_000 };
      if (methodKind !== "unary") {
        // One message is enough: it may go on for ever.
        for await (const _ of client.watchTask(message, { timeoutMs: 300 })) return;
        return;
      }
      const methods = client as unknown as Record<string, (message: object, options: object) => Promise<unknown>>;
      await methods[localName]?.(message, options);
    }

    await fc.assert(
      fc.asyncProperty(request, fc.nat(1), async ([called, message], which) => {
        if (which === 1 && !isJson(called, message)) return;
        const { revision: before, isQuiet } = await settle();
        try {
          await call(clients[which === 0 ? 0 : 1], called, message);
          seen.answered += 1;
        } catch (error) {
          const { code, rawMessage } = ConnectError.from(error);
          expect(
            allowed.map((each) => Code[each]),
            rawMessage,
          ).toContain(Code[code]);
          seen.refused += 1;
          // A deadline, or a client that leaves, is no refusal.
          if (!isQuiet || code === Code.DeadlineExceeded || code === Code.Canceled) return;
          seen.refusedInQuiet += 1;
          expect(store.revision()).toBe(before);
        }
      }),
      { numRuns: runs },
    );
    expect(seen.answered).toBeGreaterThan(runs / 20);
    expect(seen.refused).toBeGreaterThan(runs / 20);
    expect(seen.refusedInQuiet).toBeGreaterThan(runs / 20);
    expect(served.logged).toEqual([]);
  });
});
