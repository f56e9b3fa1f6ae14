import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { LaunchTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { fromInputError } from "../../src/rpc/input-error.ts";

test("a piece of the request that a decoder quotes is escaped", () => {
  const quoted = new ConnectError('Unexpected token, "{\n\u001b[2J\u202e" is not valid JSON', Code.InvalidArgument);
  const { code, rawMessage } = fromInputError(quoted, LaunchTaskRequestSchema);
  expect(code).toBe(Code.InvalidArgument);
  expect(rawMessage).toBe('Unexpected token, "{\\n\\u001b[2J\\u202e" is not valid JSON');
});

test("what is said of a request that cannot be read is not longer for being escaped", () => {
  const { rawMessage } = fromInputError(new ConnectError("\u202e".repeat(400), Code.Internal), LaunchTaskRequestSchema);
  expect(Buffer.byteLength(rawMessage)).toBeLessThanOrEqual(512);
});
