/**
 * The project's own code as text and syntax. The parser is the one that vitest brings along:
 * TypeScript 7 has none that JavaScript can call.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import { fileURLToPath } from "node:url";
import { parseAst } from "vitest/node";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** A node of the syntax tree: ESTree, with TypeScript's additions. */
export interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

export interface SourceFile {
  /** From the top of the repository: "src/store/keys.ts". */
  readonly path: string;
  readonly text: string;
  readonly program: SyntaxNode;
}

/** What a run of the clients gets and generates, which .gitignore leaves out as well: it is not ours. */
const generated = /^examples\/(?:clients|remote)\/\w+\/(?:bin|gen|target|\.venv|__pycache__)\//;

/** The paths of the files of ours at or below a folder that end so, in order. */
export function listFiles(folder: string, ending = ""): string[] {
  return readdirSync(posix.join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => posix.join(posix.relative(root, entry.parentPath), entry.name))
    .filter((path) => !generated.test(path))
    .sort();
}

export function readText(path: string): string {
  return readFileSync(posix.join(root, path), "utf8");
}

export function existsFile(path: string): boolean {
  return existsSync(posix.join(root, path));
}

export function countLines(path: string): number {
  return readText(path).split("\n").length - 1;
}

export function loadSource(path: string): SourceFile {
  const text = readText(path);
  const lang = path.endsWith(".d.ts") ? "dts" : "ts";
  // oxlint-disable-next-line typescript/no-deprecated -- its successor is not handed on by vitest.
  return { path, text, program: parseAst(text, { lang }) as unknown as SyntaxNode };
}

/** Whether a path is that file, or in that folder (which ends with a slash), at any depth. */
export function isIn(path: string, fileOrFolder: string): boolean {
  return fileOrFolder.endsWith("/") ? path.startsWith(fileOrFolder) : path === fileOrFolder;
}

/** A place to go to, and what is wrong there. */
export function placeOf(source: SourceFile, node: SyntaxNode, what: string): string {
  return `${source.path}:${source.text.slice(0, node.start).split("\n").length} ${what}`;
}

/** Calls `visit` for every node, parents first; what it returns false for is not gone into. */
export function walk(
  node: SyntaxNode,
  visit: (node: SyntaxNode, parent: SyntaxNode | undefined) => boolean | undefined,
): void {
  step(node, undefined);

  function step(each: SyntaxNode, parent: SyntaxNode | undefined): void {
    if (visit(each, parent) === false) return;
    for (const field of Object.values(each)) {
      for (const child of Array.isArray(field) ? field : [field]) if (isNode(child)) step(child, each);
    }
  }
}

export function isNode(value: unknown): value is SyntaxNode {
  return typeof value === "object" && value !== null && typeof (value as SyntaxNode).type === "string";
}

/** The name that a node is or has; "" for none. */
export function nameOf(node: unknown): string {
  if (!isNode(node)) return "";
  if (node.type === "Identifier") return String(node["name"]);
  return node.type === "Literal" ? String(node["value"]) : nameOf(node["id"]);
}

/** The declarations of a file that are exported, by name: each the whole statement. */
export function exportsOf(source: SourceFile): Map<string, SyntaxNode> {
  const declared = new Map<string, SyntaxNode>();
  for (const statement of source.program["body"] as SyntaxNode[]) {
    const { declaration } = statement;
    if (statement.type !== "ExportNamedDeclaration" || !isNode(declaration)) continue;
    for (const each of (declaration["declarations"] ?? [declaration]) as SyntaxNode[]) {
      // Of an overloaded function the first, which has the comment.
      if (!declared.has(nameOf(each))) declared.set(nameOf(each), statement);
    }
  }
  return declared;
}
