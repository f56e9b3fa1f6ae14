import { expect, test } from "vitest";
import { exampleMetadata } from "../../src/server/example-metadata.ts";

test.each([
  [["true", "a", `$\${metadata.no}`], {}],
  [["tar", `\${metadata.path}`, `--to=\${metadata.out-dir}/\${metadata.path}`], { path: "PATH", "out-dir": "OUT-DIR" }],
  [["x", `\${metadata.a.b}`, `\${metadata.a.c}`, `\${metadata.a}`], { a: { b: "B", c: "C" } }],
])("the command %j needs metadata such as %j", (command, metadata) => {
  expect(exampleMetadata({ exec: { command: command as [string, ...string[]] } })).toEqual(metadata);
});

test("of a module nobody knows what it needs", () => {
  expect(exampleMetadata({ module: "a.ts" })).toEqual({});
});
