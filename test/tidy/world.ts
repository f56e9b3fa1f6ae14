/** What a file has of the world: clock, chance, disk, network, process. */
import { importsOf } from "./imports.ts";
import { pureImports, pureModules, worldlyImports, worldlyNames } from "./rules.ts";
import { nameOf, placeOf, type SourceFile, type SyntaxNode, walk } from "./source-code.ts";

export interface Read {
  /** A global with the property that is read of it ("process.env"), or a module. */
  readonly name: string;
  readonly place: string;
}

export function readsOf(source: SourceFile): Read[] {
  return [...globalsOf(source, worldlyNames), ...worldlyModulesOf(source)];
}

/** Whether who may read `allowed` may read this: "process" covers "process.env". */
export function covers(allowed: string, { name }: Read): boolean {
  return name === allowed || name.startsWith(`${allowed}.`);
}

function worldlyModulesOf(source: SourceFile): Read[] {
  return importsOf(source).flatMap(({ target, names, place }) => {
    const isPure = !target.startsWith("node:") || pureModules.some((each) => `${target}/`.startsWith(`${each}/`));
    const isRead = names.some((name) =>
      isPure ? worldlyImports.includes(`${target} ${name}`) : !pureImports.includes(`${target} ${name}`),
    );
    return isRead ? [{ name: target, place }] : [];
  });
}

/** Of TypeScript's own nodes these have values in them; all others are types. */
const valueNodes = ["TSAsExpression", "TSSatisfiesExpression", "TSNonNullExpression", "TSInstantiationExpression"];

/** The uses of the names as values. A local of such a name counts too; there is no reason to have one. */
export function globalsOf(source: SourceFile, watched: readonly string[]): Read[] {
  const reads: Read[] = [];
  walk(source.program, (node, parent) => {
    if (node.type === "ImportDeclaration") return false;
    if (node.type.startsWith("TS") && !valueNodes.includes(node.type)) return false;
    if (node.type !== "Identifier" || isPropertyName(node, parent)) return undefined;
    const name = nameOf(node);
    const isObject = parent?.type === "MemberExpression" && parent["object"] === node && parent["computed"] === false;
    const path = isObject ? `${name}.${nameOf(parent["property"])}` : name;
    const isWatched = watched.includes(name) || watched.includes(path);
    if (isWatched && !isConversion(path, parent)) reads.push({ name: path, place: placeOf(source, node, path) });
    return undefined;
  });
  return reads;
}

function isPropertyName(node: SyntaxNode, parent: SyntaxNode | undefined): boolean {
  if (parent === undefined || parent["computed"] === true) return false;
  if (parent.type === "MemberExpression") return parent["property"] === node;
  const isMember = ["Property", "MethodDefinition", "PropertyDefinition"].includes(parent.type);
  return isMember && parent["key"] === node && parent["shorthand"] !== true;
}

/** `new Date(ms)` writes a time down, and reads no clock; nor do these. */
function isConversion(path: string, parent: SyntaxNode | undefined): boolean {
  if (path === "Date.UTC" || path === "Date.parse") return true;
  return path === "Date" && parent?.type === "NewExpression" && (parent["arguments"] as unknown[]).length > 0;
}
