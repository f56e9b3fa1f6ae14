/** Where the keys of the store are made. */
import { exportsOf, isNode, nameOf, placeOf, type SourceFile, type SyntaxNode, walk } from "./source-code.ts";

/** The first parts of all keys, from the strings of the file that makes them: "tasks", "logs", ... */
export function keyRoots(keyFile: SourceFile): string[] {
  return [...new Set(stringsOf(keyFile).flatMap(({ text }) => /^\/([a-z-]{3,})/.exec(text)?.[1] ?? []))];
}

/** The strings of a file that have the root of a key. */
export function rootsIn(source: SourceFile, roots: readonly string[]): string[] {
  return stringsOf(source)
    .filter(({ text }) => roots.some((root) => `${text}/`.includes(`/${root}/`)))
    .map(({ text, node }) => placeOf(source, node, text));
}

/** Templates and sums that begin like a piece of a key, or are made of what the key file's functions return. */
export function joinedKeys(source: SourceFile, keyFile: SourceFile): string[] {
  const builders = [...exportsOf(keyFile).keys()];
  const found: string[] = [];
  walk(source.program, (node) => {
    const isSum = node.type === "BinaryExpression" && node["operator"] === "+";
    if (!isSum && node.type !== "TemplateLiteral") return undefined;
    const parts = (isSum ? [node["left"], node["right"]] : node["expressions"]) as unknown[];
    if (parts.some(isBuilt) || (parts.length > 0 && beginning(node).startsWith("/"))) {
      found.push(placeOf(source, node, source.text.slice(node.start, node.end)));
    }
    return undefined;
  });
  return found;

  function isBuilt(node: unknown): boolean {
    if (!isNode(node) || node.type !== "CallExpression" || !isNode(node["callee"])) return false;
    return builders.includes(nameOf(node["callee"]["property"] ?? node["callee"]));
  }
}

/** The text that a template or sum begins with, as far as that is known. */
function beginning(node: SyntaxNode): string {
  if (node.type === "TemplateLiteral")
    return (node["quasis"] as { value: { cooked: string } }[])[0]?.value.cooked ?? "";
  const left = node["left"] as SyntaxNode;
  return left.type === "Literal" ? String(left["value"]) : "";
}

function stringsOf(source: SourceFile): { text: string; node: SyntaxNode }[] {
  const strings: { text: string; node: SyntaxNode }[] = [];
  walk(source.program, (node) => {
    // The names of modules are no keys.
    if (isNode(node["source"])) return false;
    if (node.type === "Literal" && typeof node["value"] === "string") strings.push({ text: node["value"], node });
    if (node.type === "TemplateElement") strings.push({ text: (node["value"] as { cooked: string }).cooked, node });
    return undefined;
  });
  return strings;
}
