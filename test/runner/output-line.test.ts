import { describe, expect, test } from "vitest";
import { parseOutputLine, resultMaxBytes } from "../../src/runner/output-line.ts";

describe("a line of a command's output", () => {
  test.each([
    ["::progress 3/10", { current: 3n, total: 10n, message: "" }],
    ["::progress 3/10 half  way ", { current: 3n, total: 10n, message: "half  way" }],
    ["::progress 11/10", { current: 11n, total: 10n, message: "" }],
    ["::progress 0/0 x", { current: 0n, total: 0n, message: "x" }],
    ["::progress 007/010 x", { current: 7n, total: 10n, message: "x" }],
    [`::progress 1/${2n ** 64n - 1n}`, { current: 1n, total: 2n ** 64n - 1n, message: "" }],
    [`::progress 1/2 ${"ä".repeat(5_000)}`, { current: 1n, total: 2n, message: "ä".repeat(2_048) }],
    [`::progress 1/2 x${"ä".repeat(5_000)}`, { current: 1n, total: 2n, message: `x${"ä".repeat(2_047)}` }],
  ])("%j is progress", (line, progress) => {
    expect(parseOutputLine(line)).toEqual({ kind: "progress", progress });
  });

  test.each(["{}", '{"a": 12345678901234567890}', " [1, 2]", "null", '"text"', "1", "false"])(
    "::result %s is a result, kept as it is",
    (text) => {
      const said = parseOutputLine(`::result ${text}`);
      expect(said).toMatchObject({ kind: "result", result: { text: text.trim() } });
    },
  );

  test("keeps a byte order mark, which is no blank", () => {
    expect(parseOutputLine("::progress 1/2  \ufeffcopying ")).toMatchObject({ progress: { message: "\ufeffcopying" } });
    expect(parseOutputLine("::error \ufeffboom")).toEqual({ kind: "error", message: "\ufeffboom" });
    expect(parseOutputLine("::error  ")).toEqual({ kind: "log" });
  });

  test("::error is an error", () => {
    expect(parseOutputLine("::error  no such table ")).toEqual({ kind: "error", message: "no such table " });
  });

  test.each([
    "",
    "text",
    " ::progress 1/2",
    ":progress 1/2",
    "::progress",
    "::progress ",
    "::progress 1",
    "::progress 1/",
    "::progress /2",
    "::progress -1/2",
    "::progress 1.5/2",
    "::progress 1/2x",
    "::progress 1 / 2",
    "::progress  1/2",
    "::progress 1e3/2",
    `::progress 1/${2n ** 64n}`,
    `::progress 1/${"9".repeat(21)}`,
    "::Progress 1/2",
    "::progressbar 1/2",
    "::result",
    "::result ",
    "::result nothing",
    "::result {",
    "::result {} {}",
    "::result NaN",
    "::results {}",
    "::error",
    "::error ",
    "::errors x",
    "::warning x",
    `::result "${"x".repeat(resultMaxBytes)}"`,
  ])("%j is a log entry", (line) => {
    expect(parseOutputLine(line)).toEqual({ kind: "log" });
  });

  test("a result may have as many bytes as the service keeps, and no more", () => {
    const result = `"${"x".repeat(resultMaxBytes - 2)}"`;
    expect(parseOutputLine(`::result ${result}`).kind).toBe("result");
    expect(parseOutputLine(`::result ${result.replace("x", "ä")}`).kind).toBe("log");
  });
});
