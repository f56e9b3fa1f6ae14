import { create, type DescField, type DescMessage, type DescOneof, type Message, ScalarType } from "@bufbuild/protobuf";
import fc from "fast-check";

const uint64 = fc.oneof(
  fc.constant(0n),
  fc.bigInt(0n, 300n),
  fc.bigInt(2n ** 53n - 2n, 2n ** 53n + 2n),
  fc.bigInt(0n, 2n ** 64n - 1n),
);
const text = fc.oneof(fc.string({ unit: "binary", maxLength: 200 }), fc.constantFrom("", "\ud800", "x".repeat(70_000)));
const scalars: Partial<Record<ScalarType, fc.Arbitrary<unknown>>> = {
  [ScalarType.STRING]: text,
  [ScalarType.BYTES]: fc.uint8Array({ maxLength: 200 }),
  [ScalarType.BOOL]: fc.boolean(),
  [ScalarType.INT32]: fc.integer(),
  [ScalarType.UINT32]: fc.nat(2 ** 32 - 1),
  [ScalarType.INT64]: uint64.map((value) => BigInt.asIntN(64, value)),
  [ScalarType.UINT64]: uint64,
};
const unknown = fc.record({
  no: fc.oneof(fc.integer({ min: 5_000, max: 6_000 }), fc.integer({ min: 2 ** 28 - 1, max: 2 ** 29 - 1 })),
  wireType: fc.constant(2),
  data: fc.uint8Array({ maxLength: 9 }).map((bytes) => new Uint8Array([bytes.length, ...bytes])),
});

/** Any message of the schema, whichever fields it gets in times to come. */
export function anyMessage(desc: DescMessage): fc.Arbitrary<Message> {
  const fields = Object.fromEntries(
    desc.members.map((member) => [member.localName, member.kind === "field" ? valueOf(member) : choiceOf(member)]),
  );
  return fc
    .tuple(fc.record(fields, { requiredKeys: [] }), fc.option(fc.array(unknown, { maxLength: 2 }), { nil: undefined }))
    .map(([init, $unknown]) => Object.assign(create(desc, init), $unknown && { $unknown }));
}

function choiceOf({ fields }: DescOneof): fc.Arbitrary<unknown> {
  return fc.oneof(...fields.map((field) => valueOf(field).map((value) => ({ case: field.localName, value }))));
}

function valueOf(field: DescField): fc.Arbitrary<unknown> {
  if (field.message?.typeName === "google.protobuf.Struct") return fc.constantFrom({}, { a: 1, b: [null, { c: "é" }] });
  const one = field.message === undefined ? scalars[field.scalar ?? ScalarType.INT32] : anyMessage(field.message);
  if (one === undefined) throw new Error(`no values are made for ${String(field)}`);
  if (field.fieldKind === "list") return fc.array(one, { maxLength: 4 });
  return field.fieldKind === "map" ? fc.dictionary(text, one, { maxKeys: 3 }) : one;
}
