/** Who imports whom. */
import { posix } from "node:path";
import { computedImport, folderRules, type FolderRule } from "./rules.ts";
import { isIn, isNode, nameOf, placeOf, type SourceFile, type SyntaxNode, walk } from "./source-code.ts";

/** An import, a re-export, an import() or the import of a type. */
export interface Import {
  /** The path from the top of the repository where it is a file of ours; else the name of the module. */
  readonly target: string;
  /** What is taken from it by name; "*" for all of it. */
  readonly names: readonly string[];
  /** Exported at once. */
  readonly isPassedOn: boolean;
  /** To be shown where it may not be. */
  readonly place: string;
}

const importTypes = [
  "ImportDeclaration",
  "ExportNamedDeclaration",
  "ExportAllDeclaration",
  "ImportExpression",
  "TSImportType",
];
const computed = "a name that is computed";

export function importsOf(source: SourceFile): Import[] {
  const imports: Import[] = [];
  walk(source.program, (node) => {
    const from = node["source"];
    if (!importTypes.includes(node.type) || !isNode(from)) return undefined;
    const specifier = from["value"];
    const target = typeof specifier === "string" ? resolve(source.path, specifier) : computed;
    const isPassedOn = node.type.startsWith("Export");
    imports.push({ target, names: importedNames(node), isPassedOn, place: placeOf(source, node, `imports ${target}`) });
    return undefined;
  });
  return imports;
}

function importedNames(node: SyntaxNode): string[] {
  const specifiers = node["specifiers"] as SyntaxNode[] | undefined;
  if (specifiers === undefined) return ["*"];
  return specifiers.map((each) => {
    if (each.type === "ImportNamespaceSpecifier") return "*";
    return each.type === "ImportDefaultSpecifier" ? "default" : nameOf(each["imported"] ?? each["local"]);
  });
}

function resolve(from: string, specifier: string): string {
  if (specifier.startsWith("#gen/")) return specifier.slice(1);
  return specifier.startsWith(".") ? posix.join(posix.dirname(from), specifier) : specifier;
}

export function rulesOf(path: string): FolderRule[] {
  return folderRules.filter((rule) => isIn(path, rule.of));
}

export function mayImport(path: string, target: string): boolean {
  const [rule] = rulesOf(path);
  if (rule === undefined) return false;
  if (target === computed) return path === computedImport;
  if (/^(src|gen)\//.test(target)) return [rule.of, ...rule.ours].some((each) => isIn(target, each));
  return rule.others.some((each) => target === each || target.startsWith(`${each}/`));
}

/** "src/cli/" for all that is in it; a file right in src stands for itself. */
export function folderOf(path: string): string {
  return /^src\/[^/]+\//.exec(path)?.[0] ?? path;
}

/** A way from a node back to itself, if there is one. */
export function findCircle(edges: ReadonlyMap<string, readonly string[]>): string | undefined {
  const done = new Set<string>();
  const way: string[] = [];
  for (const node of edges.keys()) {
    const circle = visit(node);
    if (circle !== undefined) return circle;
  }
  return undefined;

  function visit(node: string): string | undefined {
    if (way.includes(node)) return [...way.slice(way.indexOf(node)), node].join(" -> ");
    if (done.has(node)) return undefined;
    done.add(node);
    way.push(node);
    for (const next of edges.get(node) ?? []) {
      const circle = visit(next);
      if (circle !== undefined) return circle;
    }
    way.pop();
    return undefined;
  }
}

/** Whether a file exports what it has not declared. */
export function passesOn({ program }: SourceFile): boolean {
  return (program["body"] as SyntaxNode[]).some(
    ({ type, source, specifiers }) =>
      type === "ExportAllDeclaration" ||
      (type === "ExportNamedDeclaration" && (isNode(source) || (specifiers as unknown[]).length > 0)),
  );
}
