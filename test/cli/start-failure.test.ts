import { expect, test } from "vitest";
import { explainMistakes, explainStartFailure } from "../../src/cli/start-failure.ts";
import { ServerError } from "../../src/server/error.ts";
import { StoreError } from "../../src/store/store.ts";

test.each([
  [new ServerError("CONFIG", "x.yaml:1: no"), 2],
  [new ServerError("OPTION", "no"), 2],
  [new ServerError("RUNNER", "no"), 2],
  [new ServerError("LISTEN", "no"), 6],
  [new StoreError("LOCKED", "no"), 5],
  [new StoreError("DAMAGED", "no"), 7],
  [new StoreError("UNAVAILABLE", "no"), 5],
])("a start that failed with %s exits with %d", (error, exitCode) => {
  expect(explainStartFailure(error)).toMatchObject({ exitCode, message: error.message, cause: error });
});

test("a damaged store is explained with what to do", () => {
  expect(explainStartFailure(new StoreError("DAMAGED", "no"))).toMatchObject({
    hints: [
      expect.stringContaining("nothing was changed. What is wrong says: stint store verify"),
      expect.stringContaining("stint store repair"),
      expect.stringContaining("stint store restore"),
      expect.stringContaining("--data-dir"),
    ],
  });
});

test("several mistakes in a file are a list", () => {
  expect(explainStartFailure(new ServerError("CONFIG", "x:1: a\nx:2: b\x1b"))).toMatchObject({
    message: "there are 2 mistakes in the configuration",
    violations: ["x:1: a", "x:2: b\\x1b"],
  });
});

test("a mistake that is told in several lines keeps them, indented, and its quotes", () => {
  const problems = [
    { line: 2, text: 'module: cannot be loaded: "x"\nat\x1b y' },
    { line: 3, text: "b" },
  ];
  expect(explainMistakes("x.yaml", problems).violations).toEqual([
    'x.yaml:2: module: cannot be loaded: "x"\n    at\\x1b y',
    "x.yaml:3: b",
  ]);
});

test("what is not known comes back as it is", () => {
  const error = new Error("no");
  expect(explainStartFailure(error)).toBe(error);
});
