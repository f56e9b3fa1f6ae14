/**
 * A command as the configuration has it: a list of arguments in which values of a task's
 * metadata are filled in.
 *
 * `${metadata.KEY}` stands for a value of the metadata, `${metadata.OUTER.INNER}` for one of an object in it, as the
 * whole of an argument or a part of it. `$${` stands for the two characters `${`. There is nothing else: no defaults, no splitting, no
 * quoting.
 *
 * 1. The number of arguments is fixed; a value is in one argument, whatever characters it has.
 * 2. A value never begins an argument with "-": the command could take it for an option. Neither does a literal "--" before it
 *    change that, as it need not be the command's own (`sudo -- tool VALUE`). Who needs such values writes `./` or `--name=` before them.
 * 3. A value is a text, true, false, or a number: an exact whole one, or a fraction, which is that of the nearest double; one that is missing or anything else fails the task, and is named.
 */
import { Code } from "#gen/google/rpc/code_pb.js";
import { CommandError } from "./command-error.ts";

interface Placeholder {
  /** As it is written: "metadata.OUTER.INNER". */
  readonly name: string;
  readonly path: readonly string[];
}

/** An argument: the texts as they are, and what is filled in between. */
type Argument = ReadonlyArray<string | Placeholder>;

export type CommandTemplate = readonly Argument[];

const tokens = /\$\$\{|\$\{([^}]*)(\}?)/g;
const placeholderPattern = /^metadata((?:\.[A-Za-z0-9_-]+)+)$/;

/** What is wrong with the text of one argument; undefined when nothing is. */
export function checkArgument(text: string): string | undefined {
  if (text.includes("\0")) return "must not have a NUL character";
  for (const [token, name = "", end] of text.matchAll(tokens)) {
    if (token === "$${" || (end === "}" && placeholderPattern.test(name))) continue;
    return `${JSON.stringify(token)} is no placeholder: \${metadata.KEY} stands for a value of the metadata, and $\${ for \${ itself`;
  }
  return undefined;
}

/** Whether values are filled into the argument. */
export function hasPlaceholder(text: string): boolean {
  return [...text.matchAll(tokens)].some(([token, name = ""]) => token !== "$${" && placeholderPattern.test(name));
}

/** The arguments, which must have passed checkArgument. */
export function parseTemplate(args: readonly string[]): CommandTemplate {
  return args.map(parseArgument);
}

function parseArgument(text: string): Argument {
  const pieces: Array<string | Placeholder> = [];
  let literal = "";
  let end = 0;
  for (const match of text.matchAll(tokens)) {
    literal += text.slice(end, match.index);
    end = match.index + match[0].length;
    if (match[0] === "$${") {
      literal += "${";
      continue;
    }
    const name = match[1] ?? "";
    if (literal !== "") pieces.push(literal);
    literal = "";
    pieces.push({ name, path: name.split(".").slice(1) });
  }
  literal += text.slice(end);
  return literal === "" ? pieces : [...pieces, literal];
}

/** The arguments with the values of `metadata`, a parsed JSON object or undefined. Throws CommandError INVALID_ARGUMENT that names every key that is wrong. */
export function fillTemplate(template: CommandTemplate, metadata: unknown): string[] {
  const problems = new Set<string>();
  const args = template.map((argument) => fillArgument(argument, metadata, problems));
  if (problems.size > 0) throw new CommandError({ code: Code.INVALID_ARGUMENT, message: [...problems].join("; ") });
  return args;
}

function fillArgument(argument: Argument, metadata: unknown, problems: Set<string>): string {
  const filled = argument.map((piece) => {
    if (typeof piece === "string") return piece;
    const value = valueAt(metadata, piece.path);
    const complaint = complaintAbout(value);
    if (complaint !== undefined) problems.add(`${piece.name} ${complaint}`);
    return complaint === undefined ? String(value) : "";
  });
  const text = filled.join("");
  const [first] = argument;
  if (typeof first === "object" && text.startsWith("-")) {
    problems.add(`${first.name} begins with "-", which the command could take for an option`);
  }
  return text;
}

/** The value at a path through objects; undefined where there is none. */
function valueAt(metadata: unknown, path: readonly string[]): unknown {
  let value = metadata;
  for (const key of path) {
    if (typeof value !== "object" || value === null || Array.isArray(value) || !Object.hasOwn(value, key)) return;
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}

/** Why a value cannot be filled in; undefined when it can. */
function complaintAbout(value: unknown): string | undefined {
  switch (typeof value) {
    case "undefined":
      return "is missing, and the command needs it";
    case "boolean":
      return undefined;
    case "number":
      // JSON has no infinity: this was written as a number like 1e400.
      if (Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value))) return undefined;
      return "is a number too large to be exact: give it as text";
    case "string":
      if (value.includes("\0")) return "has a NUL character, which no argument can have";
      return value.isWellFormed() ? undefined : "is not well-formed text";
    default:
      return `is ${value === null ? "null" : Array.isArray(value) ? "an array" : "an object"}: an argument can only have a text, a number, true or false`;
  }
}

/** The paths of all placeholders in the arguments, which must have passed checkArgument: [["OUTER", "INNER"]]. */
export function placeholderPaths(args: readonly string[]): ReadonlyArray<readonly string[]> {
  return parseTemplate(args).flatMap((argument) =>
    argument.flatMap((piece) => (typeof piece === "string" ? [] : [piece.path])),
  );
}
