import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { LaunchTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { checkRules } from "../../src/rpc/rules.ts";
import { checkLaunch } from "../../src/rpc/validate.ts";
import { defaultLimits, resolveLimits } from "../../src/server/limits.ts";

const names = ["labelsMax", "labelKeyMaxBytes", "labelValueMaxBytes", "messageMaxBytes"] as const;

test.each(names)("%s, which the rules of the proto have too, can be lowered and not raised", (name) => {
  expect(resolveLimits({ [name]: 1 })[name]).toBe(1);
  const max = defaultLimits[name];
  expect(() => resolveLimits({ [name]: max + 1 })).toThrow(`limits.${name} must be a whole number from 1 to ${max}`);
});

test("a limit that was lowered holds where the rules of the proto allow more", () => {
  const request = create(LaunchTaskRequestSchema, { controller: "countdown", labels: { a: "", b: "" } });
  expect(checkRules(LaunchTaskRequestSchema, request)).toEqual([]);
  expect(() => checkLaunch(request, resolveLimits({ labelsMax: 1 }))).toThrow("must be at most 1 labels, and are 2");
});
