import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { LaunchTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import "../../src/messages/whole-text.ts";

const decode = (text: string) => {
  const payload = { case: "jsonMetadata" as const, value: text };
  return fromBinary(
    LaunchTaskRequestSchema,
    toBinary(LaunchTaskRequestSchema, create(LaunchTaskRequestSchema, { payload })),
  );
};

test.each(["", "a", "\ufeff", "\ufeff{}", "\ufeff\ufeffé😀", "a\ufeff"])(
  "a text is decoded as it was encoded: %j",
  (text) => {
    expect(decode(text).payload.value).toBe(text);
  },
);

test("text that is no UTF-8 is refused as before", () => {
  expect(() => fromBinary(LaunchTaskRequestSchema, Buffer.from("0a01ff", "hex"))).toThrow(TypeError);
});
