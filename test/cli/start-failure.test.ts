import { expect, test } from "vitest";
import { explainStartFailure } from "../../src/cli/start-failure.ts";
import { ServerError } from "../../src/server/error.ts";
import { StoreError } from "../../src/store/store.ts";

test.each([
  [new ServerError("CONFIG", "x.yaml:1: no"), 2],
  [new ServerError("OPTION", "no"), 2],
  [new ServerError("RUNNER", "no"), 2],
  [new ServerError("LISTEN", "no"), 6],
  [new StoreError("LOCKED", "no"), 5],
  [new StoreError("DAMAGED", "no"), 5],
  [new StoreError("UNAVAILABLE", "no"), 5],
])("a start that failed with %s exits with %d", (error, exitCode) => {
  expect(explainStartFailure(error)).toMatchObject({ exitCode, message: error.message, cause: error });
});

test("a damaged store is explained with what to do", () => {
  expect(explainStartFailure(new StoreError("DAMAGED", "no"))).toMatchObject({
    hints: [expect.stringContaining("nothing was changed"), expect.stringContaining("--data-dir")],
  });
});

test("several mistakes in a file are a list", () => {
  expect(explainStartFailure(new ServerError("CONFIG", "x:1: a\nx:2: b\x1b"))).toMatchObject({
    message: "there are 2 mistakes in the configuration",
    violations: ["x:1: a", "x:2: b\\x1b"],
  });
});

test("what is not known comes back as it is", () => {
  const error = new Error("no");
  expect(explainStartFailure(error)).toBe(error);
});
