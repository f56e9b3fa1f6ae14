import { InvalidArgumentError } from "commander";
import { describe, expect, test } from "vitest";
import { TaskState } from "#gen/core/v1/core_pb.js";
import {
  checkMetadata,
  collectLabel,
  collectState,
  createCountParser,
  parseDurationMs,
  parseLevel,
  parseRevision,
  parseSeq,
  parseServer,
} from "../../src/cli/arguments.ts";

describe("a server's address", () => {
  test.each([
    ["10.0.0.1:99", "10.0.0.1:99"],
    ["localhost:7846", "localhost:7846"],
    ["stint.example", "stint.example:7846"],
    [":8000", "127.0.0.1:8000"],
    ["8000", "127.0.0.1:8000"],
    ["[::1]:8000", "[::1]:8000"],
    ["[::1]", "[::1]:7846"],
    ["http://localhost:7846/", "localhost:7846"],
    ["https://stint.example", "https://stint.example:7846"],
  ])("%s is %s", (text, address) => {
    expect(parseServer(text)).toBe(address);
  });

  test.each(["", ":", "a:b", "a:0", "a:65536", "ftp://a:1", "a:1/x", "::1:80", "a b:1", "[::1"])(
    "cannot be %j",
    (text) => {
      expect(() => parseServer(text)).toThrow(InvalidArgumentError);
    },
  );

  test.each(["a:0", "a:65536", "https://a:99999", "100000"])("cannot be %j, for its port", (text) => {
    expect(() => parseServer(text)).toThrow(/^Its port must be from 1 to 65535, and is \d+\.$/);
  });
});

describe("a length of time", () => {
  test.each([
    ["500ms", 500],
    ["10s", 10_000],
    ["1m30s", 90_000],
    ["1.5h", 5_400_000],
    ["0s", 0],
  ])("%s is %d ms", (text, ms) => {
    expect(parseDurationMs(text)).toBe(ms);
  });

  test.each(["", "10", "s", "-1s", "1d", "1s ", "1 s", "1.s"])("cannot be %j", (text) => {
    expect(() => parseDurationMs(text)).toThrow(InvalidArgumentError);
  });
});

describe("labels", () => {
  test("are collected, with whatever stands behind the first =", () => {
    expect(collectLabel("b=", collectLabel("a=x=y"))).toEqual({ a: "x=y", b: "" });
  });

  test("may have any name, also that of a property of all objects", () => {
    expect(Object.entries(collectLabel("__proto__=1"))).toEqual([["__proto__", "1"]]);
    expect(collectLabel("constructor=1")).toEqual({ constructor: "1" });
  });

  test.each(["a", "=x", ""])("cannot be %j", (text) => {
    expect(() => collectLabel(text)).toThrow(InvalidArgumentError);
  });

  test("cannot be there twice", () => {
    expect(() => collectLabel("a=2", { a: "1" })).toThrow(/"a" is there twice/);
  });
});

describe("states", () => {
  test("are collected by name in any case, once each", () => {
    expect(collectState("Failed, running", collectState("RUNNING"))).toEqual([TaskState.Running, TaskState.Failed]);
  });

  test.each(["", "done", "1", "running,"])("cannot be %j", (text) => {
    expect(() => collectState(text)).toThrow(/Pending, Running, Completed/);
  });
});

test("a revision is a whole number of up to 64 bits", () => {
  expect(parseRevision("18446744073709551615")).toBe(2n ** 64n - 1n);
  for (const text of ["18446744073709551616", "-1", "1.5", "", "x", "0x1"]) {
    expect(() => parseRevision(text)).toThrow(InvalidArgumentError);
  }
});

test("the number of a log entry is a whole number of up to 64 bits", () => {
  expect(parseSeq("18446744073709551615")).toBe(2n ** 64n - 1n);
  for (const text of ["18446744073709551616", "-1", "", "x"]) {
    expect(() => parseSeq(text)).toThrow(InvalidArgumentError);
  }
});

test("a level is a name in any case, or a whole number", () => {
  expect(["debug", "INFO", "Warn", "error", "2", "-8", "+1"].map(parseLevel)).toEqual([-4, 0, 4, 8, 2, -8, 1]);
  for (const text of ["", "loud", "1.5", "constructor", "9999999999"]) {
    expect(() => parseLevel(text)).toThrow(InvalidArgumentError);
  }
});

test("a count is a whole number in its range", () => {
  const parse = createCountParser(1, 10);
  expect([parse("1"), parse("10")]).toEqual([1, 10]);
  for (const text of ["0", "11", "", "2.5", "1e1", "x"]) expect(() => parse(text)).toThrow(/from 1 to 10/);
});

describe("metadata", () => {
  test("is kept as it was written", () => {
    expect(checkMetadata('{ "a" : 1.0 }\n')).toBe('{ "a" : 1.0 }\n');
  });

  test.each([
    ["{limit:10}", /not JSON.*single quotes/s],
    ["[1]", /JSON object/],
    ["null", /JSON object/],
    ["", /not JSON/],
  ])("cannot be %j", (text, message) => {
    expect(() => checkMetadata(text)).toThrow(message);
  });
});
