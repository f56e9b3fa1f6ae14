/**
 * T-X2: requests of every method, with fields that are broken on purpose or bytes that have changed, given to a server without a port.
 *
 * FUZZ_MESSAGES: how many (default 500). FUZZ_SEED: of the first world; each has its own, so what one prints plays it again from its
 * beginning: FUZZ_SEED=... FUZZ_MESSAGES=... npx vitest run test/fuzz/messages.test.ts
 */
import { gzipSync } from "node:zlib";
import { createRegistry, fromBinary, hasOption, type Message, toBinary } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { field as fieldRules } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { expect, test } from "vitest";
import { type BadRequest, BadRequestSchema } from "#gen/google/rpc/error_details_pb.js";
import { BatchLaunchTasksResponseSchema } from "#gen/stint/v1/controller_pb.js";
import { envelope } from "../support/raw-http.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import { valuesOf } from "./field-values.ts";
import { readFuzzDose } from "./fuzz-dose.ts";
import { judgeFields } from "./judge.ts";
import { type ByteMutation, byteMutations, mutateBytes } from "./mutate-bytes.ts";
import type { Answer } from "./read-answer.ts";
import { brokenOfBatches, fuzzedMethods, makeRequest } from "./requests.ts";
import { type FuzzInput, isPatient, runWorlds } from "./run-worlds.ts";

const dose = readFuzzDose("FUZZ_MESSAGES", 500);

const contentTypes = ["application/grpc", "application/grpc+proto", "application/grpc-web+proto", "application/proto"];

const envelopeChanges = ["gzip", "broken gzip", "claims more", "claims less", "flags", "two", "no message"] as const;
/** What was done to the bytes of a request. */
type Change = ByteMutation | "none" | (typeof envelopeChanges)[number];
const changeWeights = Object.fromEntries([
  ["none", 12],
  ...byteMutations.map((kind) => [kind, 0.7]),
  ...envelopeChanges.map((kind) => [kind, 0.3]),
]) as Record<Change, number>;

/** The bytes of the message before, for those that are made of two. */
let previous: Buffer = Buffer.alloc(0);

function makeInput(random: SeededRandom): FuzzInput {
  const made = makeRequest(random);
  const { method, messages } = made;
  const encoded = messages.map(({ message }) => Buffer.from(toBinary(method.input, message)));
  const isUnary = method.methodKind === "unary";
  // Most go through the lane of gRPC; of the others T-X3 sends more.
  const contentType = random.chance(0.8) ? "application/grpc" : random.pick(contentTypes.slice(0, isUnary ? 4 : 3));
  const isEnveloped = contentType !== "application/proto";
  const drawn = random.weighted(changeWeights);
  const change = isEnveloped || isByteMutation(drawn) ? drawn : "none";
  const headers: Record<string, string> = { "content-type": contentType };
  if (change.endsWith("gzip")) headers["grpc-encoding"] = "gzip";
  const last = encoded.pop() as Buffer;
  const changed = isByteMutation(change) ? mutateBytes(change, last, previous, random) : last;
  const sent = isEnveloped ? enveloped(change, changed, random) : changed;
  previous = last;
  const asked = {
    path: `/${method.parent.typeName}/${method.name}`,
    method: "POST",
    headers,
    body: Buffer.concat([...encoded.map((bytes) => envelope(bytes)), sent]),
    isHttp2: method.methodKind === "bidi_streaming" || random.chance(0.9),
    mayWait: isPatient(made),
  };
  return { made, asked, change };
}

function isByteMutation(change: Change): change is ByteMutation {
  return (byteMutations as readonly string[]).includes(change);
}

function enveloped(change: Change, bytes: Buffer, random: SeededRandom): Buffer {
  if (change === "gzip") return envelope(gzipSync(bytes), { flags: 1 });
  if (change === "broken gzip") {
    return envelope(mutateBytes(random.pick(byteMutations), gzipSync(bytes), previous, random), { flags: 1 });
  }
  if (change === "claims more") {
    return envelope(bytes, { claimedBytes: bytes.length + random.pick([1, 5, 2 ** 20, 2 ** 31]) });
  }
  if (change === "claims less") return envelope(bytes, { claimedBytes: random.int(0, bytes.length) });
  if (change === "flags") return envelope(bytes, { flags: random.pick([1, 2, 3, 4, 0x80, 0xff]) });
  if (change === "two") return Buffer.concat([envelope(bytes), envelope(bytes)]);
  return change === "no message" ? Buffer.alloc(0) : envelope(bytes);
}

const details = createRegistry(BadRequestSchema);

/** What is wrong with each request of a batch stands in its result. */
function judgeBatch(message: Message | undefined, { code, messages }: Answer): void {
  const brokenOfAll = message && brokenOfBatches.get(message);
  const [bytes] = messages;
  if (brokenOfAll === undefined || code !== 0 || bytes === undefined) return;
  const { results } = fromBinary(BatchLaunchTasksResponseSchema, bytes);
  expect(results).toHaveLength(brokenOfAll.length);
  for (const [i, broken] of brokenOfAll.entries()) {
    const result = results[i]?.result;
    if (broken.length === 0) continue;
    if (result?.case !== "error") throw new Error(`request ${i} (${broken.join(", ")} is broken) was done`);
    const bad = result.value.details.map((any) => anyUnpack(any, details) as BadRequest | undefined);
    const fields = bad.flatMap((each) => each?.fieldViolations.map(({ field }) => field) ?? []);
    judgeFields({ ...result.value, fields }, broken);
  }
}

function judgeMessages({ made, change }: FuzzInput, answer: Answer): boolean {
  if (change !== "none" || answer.hasLeft) return false;
  const [first] = made.messages;
  judgeBatch(first?.message, answer);
  // Whether what comes behind the first message is looked at depends on what that began.
  const broken = first?.broken ?? [];
  if (broken.length > 0) judgeFields(answer, broken);
  else if (made.messages.length === 1 && answer.code === 3 && answer.fields.length > 0) {
    throw new Error(`${answer.fields.join(", ")} is named, and nothing is broken`);
  }
  return broken.length > 0;
}

test(`${dose.count} messages: each is answered, or refused for all that is wrong with it, and changes nothing then`, {
  timeout: 60_000 + dose.count * 20,
}, async () => {
  await runWorlds({
    dose,
    name: "fuzzed messages",
    variable: "FUZZ_MESSAGES",
    file: "test/fuzz/messages.test.ts",
    changes: Object.keys(changeWeights),
    make: makeInput,
    judgeFields: judgeMessages,
  });
});

test("every field of a request that a rule of the proto is about has values that break it", () => {
  const inputs = fuzzedMethods.flatMap(({ input }) => [
    input,
    ...input.oneofs.flatMap(({ fields }) => fields.flatMap(({ message }) => message ?? [])),
  ]);
  const ruled = inputs.flatMap((desc) =>
    desc.fields.filter((field) => hasOption(field, fieldRules)).map((field) => ({ desc, field })),
  );
  expect(ruled.length).toBeGreaterThan(40);
  const unbroken = ruled.filter(({ desc, field }) => (valuesOf(desc.name, field)?.bad?.length ?? 0) === 0);
  expect(unbroken.map(({ desc, field }) => `${desc.name}.${field.name}`)).toEqual([]);
});
