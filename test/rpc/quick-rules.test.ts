import { create, type DescField, type DescMessage, type Message, ScalarType } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LaunchTaskRequestSchema, TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import {
  OfferAcceptedSchema,
  PhaseEndSchema,
  RunPhase,
  RunRequestSchema,
  TaskRunnerService,
  TaskWriteSchema,
} from "#gen/stint/v1/runner_pb.js";
import { surelyKeepsRules } from "../../src/rpc/quick-rules.ts";

const validator = createValidator({ regexMatch: (pattern, text) => new RegExp(pattern, "u").test(text) });
const runs = Number(process.env["QUICK_RULES_RUNS"] ?? 500);

const texts = [
  "",
  "a",
  "a",
  "a-b",
  "A b",
  "é",
  "a\n",
  "a'b",
  "\u{1f600}",
  "x".repeat(63),
  "x".repeat(64),
  "x".repeat(128),
];
const longTexts = ["x".repeat(129), "é".repeat(65), "x".repeat(4_096), "x".repeat(4_097)];
const numbers = [0, 1, 2, 16, 1_000, 1_001, 2 ** 31 - 1];
const bigNumbers = [0n, 1n, 2n, 1_000n, 2n ** 63n, 2n ** 64n - 2n, 2n ** 64n - 1n];

/** Values of a field, of all kinds that a rule may be about. */
function valueOf(field: DescField, depth: number): fc.Arbitrary<unknown> {
  if (field.message !== undefined) return depth === 0 ? fc.constant(undefined) : messageOf(field.message, depth - 1);
  if (field.enum !== undefined) return fc.constantFrom(...field.enum.values.map((each) => each.number), 99);
  switch (field.scalar) {
    case ScalarType.STRING:
      return fc.constantFrom(...texts, ...longTexts);
    case ScalarType.BOOL:
      return fc.boolean();
    case ScalarType.BYTES:
      return fc.constant(new Uint8Array(1));
    case ScalarType.UINT64:
      return fc.constantFrom(...bigNumbers);
    case ScalarType.INT64:
      return fc.constantFrom(-1n, 0n, 1n);
    default:
      return fc.constantFrom(...numbers);
  }
}

function fieldOf(field: DescField, depth: number): fc.Arbitrary<unknown> {
  const value = valueOf(field, depth);
  if (field.fieldKind === "map")
    return fc.dictionary(fc.constantFrom(...texts), value, { maxKeys: 2, noNullPrototype: true });
  if (field.fieldKind !== "list") return fc.option(value, { nil: undefined, freq: 3 });
  const some = fc.array(value, { maxLength: 3 });
  return (
    depth === 0
      ? some
      : fc.oneof(
          some,
          value.map((each) => Array.from({ length: 300 }, () => each)),
        )
  ).map((items) => items.filter((item) => item !== undefined));
}

function messageOf(desc: DescMessage, depth = 2): fc.Arbitrary<Message> {
  const fields = desc.members.flatMap((member): [string, fc.Arbitrary<unknown>][] => {
    if (member.kind === "field") return [[member.localName, fieldOf(member, depth)]];
    const choices = member.fields.map((field) =>
      valueOf(field, depth).map((value) => ({ case: field.localName, value })),
    );
    return [[member.localName, fc.oneof(fc.constant({ case: undefined }), ...choices)]];
  });
  return fc.record(Object.fromEntries(fields)).map((init) => create(desc, withoutUndefined(init)));
}

function withoutUndefined(init: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(init).filter(([, value]) => value !== undefined));
}

describe("a message that is let through quickly keeps the rules", () => {
  const requests = [...TaskControllerService.methods, ...TaskRunnerService.methods].map(({ input }) => input);
  const inner = RunRequestSchema.fields.flatMap(({ message }) => message ?? []);
  test.each([...new Set([...requests, ...inner])].map((desc) => [desc.typeName, desc] as const))("%s", (_, desc) => {
    fc.assert(
      fc.property(messageOf(desc), (message) => {
        if (surelyKeepsRules(desc, message)) expect(validator.validate(desc, message).kind).toBe("valid");
      }),
      { numRuns: runs },
    );
  });
});

test("what runners and launches say is let through", () => {
  const named = { taskId: "a", fence: 1n };
  const done = { case: "done" as const, value: {} };
  const messages: [DescMessage, Message][] = [
    [OfferAcceptedSchema, create(OfferAcceptedSchema, { ...named, phase: RunPhase.PENDING })],
    [
      TaskWriteSchema,
      create(TaskWriteSchema, { ...named, seq: 1n, progress: { current: 1n }, entries: [{ msg: "x" }] }),
    ],
    [PhaseEndSchema, create(PhaseEndSchema, { ...named, seq: 2n, phase: RunPhase.RUNNING, outcome: done })],
    [LaunchTaskRequestSchema, create(LaunchTaskRequestSchema, { controller: "countdown", taskId: "a" })],
  ];
  expect(messages.filter(([desc, message]) => !surelyKeepsRules(desc, message))).toEqual([]);
});
