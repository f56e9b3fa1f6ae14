import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkArgument, fillTemplate, hasPlaceholder, parseTemplate } from "../../src/runner/command-template.ts";

const fill = (args: string[], metadata?: unknown): string[] => fillTemplate(parseTemplate(args), metadata);

function complaint(args: string[], metadata?: unknown): string {
  try {
    fill(args, metadata);
  } catch (error) {
    expect(error).toMatchObject({ name: "CommandError", taskError: { code: 3, reason: "RUNNER_ERROR" } });
    return (error as Error).message;
  }
  throw new Error("the arguments were filled");
}

describe("arguments are filled", () => {
  test.each<[string, string[], unknown, string[]]>([
    ["nothing", ["a", "", "$b", "{c}", "${"].slice(0, 4), undefined, ["a", "", "$b", "{c}"]],
    ["a whole argument", [`\${metadata.path}`], { path: "/x y" }, ["/x y"]],
    ["a part", [`--in=\${metadata.path}!`], { path: "-x" }, ["--in=-x!"]],
    ["several parts", [`a\${metadata.b}c\${metadata.d}`], { b: 1, d: 2 }, ["a1c2"]],
    ["a value of an inner object", [`\${metadata.a.b-c.d_1}`], { a: { "b-c": { d_1: "deep" } } }, ["deep"]],
    ["numbers and booleans", [`x\${metadata.a}`, `\${metadata.b}`], { a: -1.5, b: false }, ["x-1.5", "false"]],
    ["an empty text", [`\${metadata.a}`, "b"], { a: "" }, ["", "b"]],
    ["what stands for ${ itself", [`$\${metadata.a}`, `$$\${x}`], {}, [`\${metadata.a}`, `$\${x}`]],
    [
      "a value that looks like a placeholder, once",
      [`\${metadata.a}`],
      { a: `\${metadata.b}`, b: 1 },
      [`\${metadata.b}`],
    ],
    ["a dash further in", [`./\${metadata.a}`], { a: "-rf" }, ["./-rf"]],
    [
      "what a shell would take apart",
      [`\${metadata.a}`],
      { a: `"; rm -rf $HOME \`id\` | & > * ? ' \\ \n\t` },
      [`"; rm -rf $HOME \`id\` | & > * ? ' \\ \n\t`],
    ],
    ["the largest exact number", [`\${metadata.a}`], { a: 2 ** 53 - 1 }, ["9007199254740991"]],
  ])("with %s", (_, args, metadata, filled) => {
    expect(args.map(checkArgument)).toEqual(args.map(() => undefined));
    expect(fill(args, metadata)).toEqual(filled);
  });

  test("a value is in one argument, whatever it is", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 40 }), (value) => {
        expect(fill([`a\${metadata.x}b`, "c"], { x: value })).toEqual([`a${value}b`, "c"]);
      }),
    );
  });
});

describe("what cannot be filled in is named", () => {
  test.each<[string, string[], unknown, string]>([
    ["no metadata", [`\${metadata.path}`], undefined, "metadata.path is missing, and the command needs it"],
    ["a missing key", [`\${metadata.a.b}`], { a: {} }, "metadata.a.b is missing, and the command needs it"],
    [
      "what an object inherits",
      [`\${metadata.constructor}`],
      {},
      "metadata.constructor is missing, and the command needs it",
    ],
    [
      "a key of a text",
      [`\${metadata.a.length}`],
      { a: "x" },
      "metadata.a.length is missing, and the command needs it",
    ],
    ["a key of an array", [`\${metadata.a.0}`], { a: ["x"] }, "metadata.a.0 is missing, and the command needs it"],
    [
      "null",
      [`\${metadata.a}`],
      { a: null },
      "metadata.a is null: an argument can only have a text, a number, true or false",
    ],
    [
      "an object",
      [`\${metadata.a}`],
      { a: {} },
      "metadata.a is an object: an argument can only have a text, a number, true or false",
    ],
    [
      "an array",
      [`\${metadata.a}`],
      { a: [] },
      "metadata.a is an array: an argument can only have a text, a number, true or false",
    ],
    ["NUL", [`\${metadata.a}`], { a: "a\0b" }, "metadata.a has a NUL character, which no argument can have"],
    ["half a character", [`\${metadata.a}`], { a: "\ud800" }, "metadata.a is not well-formed text"],
    [
      "a number that is infinite to a double",
      [`\${metadata.a}`, `\${metadata.b}`],
      JSON.parse('{"a":1e400,"b":-1e400}'),
      "metadata.a is a number too large to be exact: give it as text; metadata.b is a number too large to be exact: give it as text",
    ],
    [
      "a number that is not exact",
      [`\${metadata.a}`],
      JSON.parse('{"a": 12345678901234567890}'),
      "metadata.a is a number too large to be exact: give it as text",
    ],
    [
      "an option",
      [`\${metadata.a}`],
      { a: "--delete" },
      'metadata.a begins with "-", which the command could take for an option',
    ],
    [
      "an option behind --",
      ["--", `\${metadata.a}`],
      { a: "-x" },
      'metadata.a begins with "-", which the command could take for an option',
    ],
    [
      "a negative number",
      [`\${metadata.a}`],
      { a: -1 },
      'metadata.a begins with "-", which the command could take for an option',
    ],
    [
      "an option behind nothing",
      [`\${metadata.a}\${metadata.b}`],
      { a: "", b: "-x" },
      'metadata.a begins with "-", which the command could take for an option',
    ],
  ])("%s", (_, args, metadata, message) => {
    expect(complaint(args, metadata)).toBe(message);
  });

  test("all at once, and each once", () => {
    const args = [`\${metadata.a}`, `\${metadata.a}`, `x\${metadata.b}`];
    expect(complaint(args, { b: null })).toBe(
      "metadata.a is missing, and the command needs it; metadata.b is null: an argument can only have a text, a number, true or false",
    );
  });
});

describe("an argument of the configuration", () => {
  test.each([
    `\${path}`,
    `\${metadata}`,
    `\${metadata.}`,
    `\${metadata.a b}`,
    `\${metadata..a}`,
    `\${}`,
    `\${metadata.a`,
    `a\${HOME}`,
    "\0",
  ])("%j is refused", (text) => {
    expect(checkArgument(text)).toMatch(/is no placeholder|NUL/);
  });

  test("is known to have a placeholder", () => {
    expect(["a", `$\${x}`, `\${HOME}`, `x\${metadata.a}`].map(hasPlaceholder)).toEqual([false, false, false, true]);
  });
});
