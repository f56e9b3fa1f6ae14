/** Requests of every method, made by its descriptor, with fields that are broken on purpose. */
import {
  create,
  type DescField,
  type DescMessage,
  type DescMethod,
  type DescOneof,
  type Message,
} from "@bufbuild/protobuf";
import { Health } from "#gen/grpc/health/v1/health_pb.js";
import { ServerReflection } from "#gen/grpc/reflection/v1/reflection_pb.js";
import { LaunchTaskRequestSchema, TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { RunRequestSchema, TaskRunnerService } from "#gen/stint/v1/runner_pb.js";
import { StoreService } from "#gen/stint/v1/store_pb.js";
import type { SeededRandom } from "../support/seeded-random.ts";
import { anyValue, pickValue, valuesOf } from "./field-values.ts";

/** A message, and what is wrong with it. */
export interface MadeMessage {
  readonly message: Message;
  /** The fields, as the answer has to name them. */
  readonly broken: readonly string[];
}

export interface MadeRequest {
  readonly method: DescMethod;
  /** One, but for a method to which messages are streamed. */
  readonly messages: readonly MadeMessage[];
}

export const fuzzedMethods: readonly DescMethod[] = [
  ...TaskControllerService.methods,
  ...TaskRunnerService.methods,
  ...StoreService.methods,
  ...Health.methods,
  ...ServerReflection.methods,
];

/** What changes something is asked for more often. */
const weights: Readonly<Record<string, number>> = { LaunchTask: 6, CancelTask: 2, ListTasks: 2, Run: 3, Backup: 0.3 };
const methodWeights = Object.fromEntries(fuzzedMethods.map((method, i) => [i, weights[method.name] ?? 1]));
const brokenWeights = { 0: 0.5, 1: 0.3, 2: 0.12, 3: 0.08 };

export function makeRequest(random: SeededRandom): MadeRequest {
  const method = fuzzedMethods[Number(random.weighted(methodWeights))] as DescMethod;
  const count = method.methodKind === "bidi_streaming" ? random.int(1, 4) : 1;
  const messages = Array.from({ length: count }, (_, i) => makeMessage(method.input, random, i));
  return { method, messages };
}

function makeMessage(desc: DescMessage, random: SeededRandom, index: number): MadeMessage {
  if (desc === RunRequestSchema) return makeRunRequest(random, index);
  if (desc.name === "BatchLaunchTasksRequest") return makeBatch(desc, random);
  const breaks = Number(random.weighted(brokenWeights));
  const { init, broken } = fill(desc, random, breaks);
  return { message: create(desc, init as never), broken };
}

/** The first message should be a hello, and is one mostly. */
function makeRunRequest(random: SeededRandom, index: number): MadeMessage {
  const isHello = index === 0 ? random.chance(0.9) : random.chance(0.05);
  const field = isHello ? (RunRequestSchema.fields[0] as DescField) : random.pick(RunRequestSchema.fields);
  const { init, broken } = fill(field.message as DescMessage, random, random.chance(0.7) ? 0 : 1);
  const message = create(RunRequestSchema, { message: { case: field.localName, value: init } } as never);
  if (broken.length > 0) return { message, broken: broken.map((name) => `${field.name}.${name}`) };
  const isMisplaced = (index === 0) !== (field.name === "hello");
  return { message, broken: isMisplaced ? ["hello"] : [] };
}

/** What is wrong with one of a batch stands in its result. */
function makeBatch(desc: DescMessage, random: SeededRandom): MadeMessage {
  if (random.chance(0.003))
    return { message: create(desc, { requests: Array(1_001).fill({}) } as never), broken: ["requests"] };
  const made = Array.from({ length: random.int(0, 5) }, () => makeMessage(LaunchTaskRequestSchema, random, 0));
  const message = create(desc, { requests: made.map((each) => each.message) } as never);
  brokenOfBatches.set(
    message,
    made.map(({ broken }) => broken),
  );
  return { message, broken: [] };
}

/** What is wrong with each request of a batch. */
export const brokenOfBatches = new WeakMap<Message, readonly (readonly string[])[]>();

function fill(desc: DescMessage, random: SeededRandom, breaks: number) {
  const init: Record<string, unknown> = {};
  const members = desc.members.filter((member) => isBreakable(desc, member));
  const toBreak = new Set(Array.from({ length: Math.min(breaks, members.length) }, () => random.pick(members)));
  const broken: string[] = [];
  for (const member of desc.members) {
    const isBroken = toBreak.has(member);
    const chosen = member.kind === "oneof" ? chooseOf(desc, member, random, isBroken) : member;
    if (chosen === undefined) continue;
    const { name, value } =
      "value" in chosen ? chosen : { name: chosen.name, value: valueFor(desc, chosen, random, isBroken) };
    if (value !== undefined) init[member.localName] = value;
    if (isBroken) broken.push(name);
  }
  return { init, broken };
}

function isBreakable(desc: DescMessage, member: DescField | DescOneof): boolean {
  const known = valuesOf(desc.name, member);
  if (known !== undefined) return (known.bad?.length ?? 0) > 0;
  return member.kind === "oneof" && member.fields.some((field) => (valuesOf(desc.name, field)?.bad?.length ?? 0) > 0);
}

/** A member of a oneof, and its value, as `create` takes it. */
function chooseOf(desc: DescMessage, oneof: DescOneof, random: SeededRandom, isBroken: boolean) {
  const known = valuesOf(desc.name, oneof);
  if (known !== undefined) {
    const value = pickValue(isBroken ? (known.bad ?? []) : known.good, random) as { case?: string };
    return { name: isBroken && value.case === "failed" ? "failed.error" : oneof.name, value };
  }
  if (!isBroken && random.chance(0.5)) return undefined;
  const field = random.pick(oneof.fields);
  const value = valueFor(desc, field, random, isBroken);
  return value === undefined ? undefined : { name: field.name, value: { case: field.localName, value } };
}

function valueFor(desc: DescMessage, field: DescField, random: SeededRandom, isBroken: boolean): unknown {
  const known = valuesOf(desc.name, field);
  if (known === undefined) return anyValue(field, random);
  return pickValue(isBroken ? (known.bad ?? []) : known.good, random);
}
