/** What the package exports. */
import { importsOf } from "./imports.ts";
import { exportsOf, isNode, loadSource, nameOf, type SourceFile, type SyntaxNode, walk } from "./source-code.ts";

export interface PublicName {
  readonly name: string;
  readonly source: SourceFile;
  /** Undefined where the file does not declare it. */
  readonly declaration: SyntaxNode | undefined;
}

/** The exports of an entry file, each where it is declared. */
export function publicNames(entry: SourceFile): PublicName[] {
  const passedOn = importsOf(entry).filter((each) => each.isPassedOn);
  const names = passedOn.flatMap(({ target, names: taken }) => {
    // What is generated is declared beside the code.
    const source = loadSource(target.replace(/^(gen\/.*)\.js$/, "$1.d.ts"));
    const declared = exportsOf(source);
    return taken.map((name) => ({ name, source, declaration: declared.get(name) }));
  });
  return [...names, ...[...exportsOf(entry)].map(([name, declaration]) => ({ name, source: entry, declaration }))];
}

/** Whether a doc comment stands right before the declaration. */
export function isExplained({ source, declaration }: PublicName): boolean {
  const before = source.text.slice(0, declaration?.start ?? 0).trimEnd();
  return before.endsWith("*/") && before.slice(before.lastIndexOf("/*")).startsWith("/**");
}

/** The types of ours that the declaration shows to users: those in its bodies and private fields it does not. */
export function shownTypes({ source, declaration }: PublicName): string[] {
  if (declaration === undefined || source.path.startsWith("gen/")) return [];
  const shown = new Set<string>();
  walk(declaration, (node) => {
    if (node.type === "BlockStatement") return false;
    if (node.type === "PropertyDefinition" && (node["key"] as SyntaxNode).type === "PrivateIdentifier") return false;
    if (node.type === "TSTypeReference") shown.add(nameOf(node["typeName"]));
    if (node.type === "TSInterfaceHeritage") shown.add(nameOf(node["expression"]));
    return undefined;
  });
  const ours = new Set(namesOfOurs(source));
  return [...shown].filter((name) => ours.has(name));
}

/** The names in a file that are ours: declared in it, or imported from another file. */
function namesOfOurs(source: SourceFile): string[] {
  const imported = importsOf(source).flatMap(({ target, names }) => (/^(src|gen)\//.test(target) ? names : []));
  const declared = (source.program["body"] as SyntaxNode[]).map(({ declaration, ...statement }) =>
    nameOf(isNode(declaration) ? declaration : statement),
  );
  return [...imported, ...declared];
}
