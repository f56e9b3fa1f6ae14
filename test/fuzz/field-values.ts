/** What the fields of requests may have, by their names: values that keep the rules, and values that break one. */
import type { DescField, JsonObject } from "@bufbuild/protobuf";
import { ScalarType } from "@bufbuild/protobuf";
import type { SeededRandom } from "../support/seeded-random.ts";

export interface FieldValues {
  readonly good: readonly (() => unknown)[];
  /** Each has to be named in the answer. Undefined: nothing is wrong whatever the field has. */
  readonly bad?: readonly (() => unknown)[];
}

const max64 = 2n ** 64n - 1n;
const long = (length: number): string => "x".repeat(length);
const values = (...all: readonly unknown[]): (() => unknown)[] => all.map((value) => () => value);
const nested = (depth: number): string => `{"a":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)}}`;
const deepStruct = (depth: number): JsonObject => (depth === 1 ? {} : { a: deepStruct(depth - 1) });
const pairs = (count: number): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, ""]));
const protoKey = (): object => Object.defineProperty({}, "__proto__", { value: "x", enumerable: true });

const badIds = ["../x", "%2e%2e", "a/b", "a\0b", "\u202ea", "-a", long(129), "__proto__", "é", "a b", "a\n", "\ufeffa"];
const taskId: FieldValues = {
  good: values("a", "b", "c", "e1", "e2", "constructor", "toString", "a.b:c@d-e_f", long(128)),
  bad: values("", ...badIds),
};
const optionalId: FieldValues = { good: values("", "a", "e1", "toString"), bad: values(...badIds) };
const badControllers = ["A", "-a", "a/b", "a b", long(64), "é", "__proto__", "a\0", "../a", "tests\n", "\u001b[2J"];
const controller: FieldValues = {
  good: values(...Array(8).fill("tests"), ...Array(8).fill("idle"), "none", long(63), "0"),
  bad: values("", ...badControllers),
};
const unprintable = ["a\0", "a\nb", "\u2028", "\u202e", "\u001b[2J"];
const words: FieldValues = { good: values("", "", "x", "é", long(128)), bad: values(long(129), ...unprintable) };
const duration: FieldValues = {
  good: values(undefined, {}, { nanos: 1_000_000 }, { seconds: 0n, nanos: 1 }),
  bad: values(
    { seconds: -1n },
    { seconds: 315_576_000_001n },
    { seconds: 2n ** 63n - 1n },
    { nanos: -1 },
    { nanos: 1_000_000_000 },
    { seconds: 1n, nanos: -1 },
  ),
};
const enumUpTo = (max: number, min = 0): FieldValues => ({
  good: values(...Array.from({ length: max - min + 1 }, (_, i) => min + i)),
  bad: values(-1, 99, 2 ** 31 - 1, ...(min > 0 ? [0] : [])),
});
const seq: FieldValues = { good: values(1n, 2n, 2n ** 63n, max64 - 1n), bad: values(0n, max64) };
const anything64 = values(0n, 0n, 1n, 2n, 7n, 2n ** 53n + 1n, 2n ** 63n, max64);
const token = (...parts: unknown[]): string => Buffer.from(JSON.stringify(parts)).toString("base64url");

/** By the name of the field, or those of its message and its own where another message has one of that name. */
const byName: Readonly<Record<string, FieldValues>> = {
  controller,
  "WatchTasksRequest.controller": { good: [...controller.good, () => ""], bad: values(...badControllers) },
  "RunnerHello.controller": { good: values("made", "idle", "made-2"), bad: values("", ...badControllers) },
  task_id: taskId,
  "LaunchTaskRequest.task_id": optionalId,
  id_prefix: optionalId,
  json_metadata: {
    good: values("", " \r\n\t", "{}", '{"a":1}', '{"__proto__":{"a":1}}', nested(32), `{"a":"${long(2_000)}"}`),
    bad: values("[]", "null", "1", '"x"', '{"a":', "{", "{'a':1}", "\ufeff{}", nested(33), nested(5_000), "{}{}"),
  },
  metadata: {
    good: [
      ...values({}, { a: 1 }, { a: [null, true, { b: -1.5 }] }, { constructor: "x", toString: {} }, deepStruct(30)),
      protoKey,
    ],
    bad: values({ a: 2 ** 53 }, { a: [1e300] }, { "\u202e": { b: -(2 ** 60) } }, deepStruct(34)),
  },
  labels: {
    good: values({}, {}, { env: "x" }, { constructor: "x", toString: "" }, { [long(63)]: long(256) }, pairs(64)),
    bad: values({ "": "x" }, { "a b": "" }, { "-a": "" }, { env: long(257) }, { [long(64)]: "" }, pairs(65)),
  },
  if_active: enumUpTo(3),
  if_ended: enumUpTo(4),
  order_by: enumUpTo(2),
  request_id: words,
  run_id: words,
  reason: { good: values("", "", "because", long(4_096)), bad: values(long(4_097)) },
  "AbortReceived.reason": enumUpTo(4, 1),
  wait: duration,
  timeout: duration,
  read_mask: {
    good: values(
      undefined,
      {},
      { paths: ["state"] },
      { paths: ["progress.current", "error.details"] },
      { paths: ["logs", "labels", "metadata", "result"] },
    ),
    bad: values(
      { paths: ["nope"] },
      { paths: ["state", ""] },
      { paths: ["progress.nope"] },
      { paths: ["state.x"] },
      { paths: ["__proto__"] },
      { paths: ["labels.env"] },
      { paths: Array(257).fill("state") },
    ),
  },
  log_limit: { good: values(undefined, 0, 1, 1_000), bad: values(1_001, 2 ** 32 - 1) },
  page_token: {
    good: values("", "", ""),
    bad: values(
      "x",
      "%%",
      "W10",
      token(),
      token("q"),
      token("q", "1", "x"),
      token("__proto__", "1", "x"),
      "a\0",
      long(4_097),
    ),
  },
  states: {
    good: values([], [], [1], [1, 2, 3, 4, 6, 0], Array(16).fill(2)),
    bad: values([99], [1, -1], [5], Array(17).fill(1)),
  },
  requests: { good: [], bad: values(Array(1_001).fill({})) },
  runner: { good: values("r", "r.1:a@b-c", long(128)), bad: values("", ...badIds) },
  instance_id: {
    good: values("0123456789abcdef", "fedcba9876543210", long(128)),
    bad: values("", "short", long(15), long(129), "0123456789/abcdef", "../0123456789abcdef"),
  },
  capacity: { good: values(1, 2, 1_000), bad: values(0, 1_001, 2 ** 32 - 1) },
  protocol_version: { good: values(1, 1, 1, 2, 2 ** 32 - 1), bad: values(0) },
  held: {
    good: values([], [], [{ taskId: "a", fence: 1n, phase: 2 }], [{ taskId: "a", fence: max64, writtenSeq: max64 }]),
    bad: values(
      [{ taskId: "" }],
      [{ taskId: "a" }, { taskId: "../x" }],
      [{ taskId: "a", phase: 99 }],
      Array(2_001).fill({}),
    ),
  },
  seq,
  phase: enumUpTo(3, 1),
  entries: {
    good: values([], [{ msg: "x", level: 0 }], [{ msg: "\u001b[2J\0", level: 2 ** 31 - 1 }], Array(256).fill({})),
    bad: values(Array(257).fill({})),
  },
  outcome: {
    good: values(
      { case: "done", value: {} },
      { case: "done", value: { result: "1" } },
      { case: "done", value: { result: "{" } },
      { case: "failed", value: { error: { code: 2, message: "x" } } },
      { case: "aborted", value: {} },
      { case: "released", value: {} },
    ),
    bad: values({ case: undefined }, { case: "failed", value: {} }),
  },
};

const generic: Partial<Record<ScalarType, readonly unknown[]>> = {
  [ScalarType.BOOL]: [false, true],
  [ScalarType.STRING]: ["", "a", "grpc.health.v1.Health", "\0", "é😀", long(300), "__proto__"],
  [ScalarType.UINT32]: [0, 1, 1_000, 2 ** 32 - 1],
  [ScalarType.INT32]: [0, -4, 8, 2 ** 31 - 1, -(2 ** 31)],
  [ScalarType.UINT64]: [],
};

/** So large that most of the time would go into them: picked seldom. */
function isLarge(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 100;
  if (typeof value === "string") return value.length > 2_500;
  if (typeof value !== "object" || value === null) return false;
  return Object.keys(value).length > 60 || isLarge((value as { paths?: unknown }).paths);
}

const large = new Set(
  Object.values(byName).flatMap(({ good, bad = [] }) => [...good, ...bad].filter((make) => isLarge(make()))),
);

/** One of the values. */
export function pickValue(all: FieldValues["good"], random: SeededRandom): unknown {
  for (;;) {
    const make = random.pick(all);
    if (!large.has(make) || all.every((each) => large.has(each)) || random.chance(0.05)) return make();
  }
}

/** The values of a field, or of the choice `field` stands for. */
export function valuesOf(messageName: string, field: { readonly name: string }): FieldValues | undefined {
  return byName[`${messageName}.${field.name}`] ?? byName[field.name];
}

/** A value of a field that no rule is about; undefined for what is left out. */
export function anyValue(field: DescField, random: SeededRandom): unknown {
  if (field.fieldKind === "message") return random.chance(0.5) ? undefined : {};
  if (field.fieldKind !== "scalar") return undefined;
  if (field.scalar === ScalarType.UINT64) return random.pick(anything64)();
  const all = generic[field.scalar] ?? [];
  return all.length === 0 ? undefined : random.pick(all.map((value) => () => value))();
}
