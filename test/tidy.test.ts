/** The rules of the house; the tables are in tidy/rules.ts, what they are for in docs/architecture.md. */
import { describe, expect, test } from "vitest";
import { findCircle, folderOf, type Import, importsOf, mayImport, passesOn, rulesOf } from "./tidy/imports.ts";
import { joinedKeys, keyRoots, rootsIn } from "./tidy/keys.ts";
import { isExplained, publicNames, shownTypes } from "./tidy/public-names.ts";
import { folderRules, hardMaxLines, longFiles, realPorts, reserved, softMaxLines, testFolders } from "./tidy/rules.ts";
import { countLines, existsFile, isIn, listFiles, loadSource, readText, type SourceFile } from "./tidy/source-code.ts";
import { covers, globalsOf, readsOf } from "./tidy/world.ts";

/** The files that users of the package import. */
const { exports } = JSON.parse(readText("package.json")) as { exports: Record<string, { default?: string }> };
const entries = Object.values(exports).flatMap(
  (each) => each.default?.replace(/^\.\/dist\/(.*)\.js$/, "src/$1.ts") ?? [],
);

const sources = listFiles("src", ".ts").map(loadSource);
const imports = new Map(sources.map((source) => [source.path, importsOf(source)]));

describe("imports", () => {
  test("every file is under one rule", () => {
    expect(sources.map(({ path }) => path).filter((path) => rulesOf(path).length !== 1)).toEqual([]);
  });

  test("docs/architecture.md says what each folder is", () => {
    const page = readText("docs/architecture.md");
    const folders = folderRules.map((rule) => rule.of).filter((of) => of.endsWith("/"));
    expect(folders.filter((folder) => !page.includes(`| \`${folder}\``))).toEqual([]);
  });

  test("a folder imports what it may, for types or values, and nothing else", () => {
    expect(offences((path, { target }) => !mayImport(path, target))).toEqual([]);
  });

  test("what is reserved for some is imported by them alone", () => {
    const isTaken = (path: string, { target }: Import): boolean =>
      reserved.some((rule) => rule.target.test(target) && !rule.by.test(path));
    expect(offences(isTaken)).toEqual([]);
  });

  test("no file and no folder imports itself in a circle, not even for types", () => {
    const ofFiles = new Map<string, string[]>();
    const ofFolders = new Map<string, string[]>();
    for (const [path, all] of imports) {
      const targets = all.map(({ target }) => target);
      const folder = folderOf(path);
      const folders = targets.map(folderOf).filter((other) => other !== folder);
      ofFiles.set(path, targets);
      ofFolders.set(folder, [...(ofFolders.get(folder) ?? []), ...folders]);
    }
    expect(findCircle(ofFiles)).toBeUndefined();
    expect(findCircle(ofFolders)).toBeUndefined();
  });

  test("only the entries of the package pass on what other files declare", () => {
    expect(pathsOf(sources.filter(passesOn))).toEqual(entries);
  });

  test("no file or folder is a drawer for everything", () => {
    const drawer = /(^|[/-])(utils?|helpers?|common|misc|shared|types|lib|base|manager)[./-]/;
    const paths = ["src", "test", "bench", "scripts", "examples"].flatMap((folder) => listFiles(folder));
    expect(paths.filter((path) => drawer.test(path))).toEqual([]);
  });

  /** The imports that are against a rule. */
  function offences(isOffence: (path: string, each: Import) => boolean): string[] {
    return [...imports].flatMap(([path, all]) => all.filter((each) => isOffence(path, each)).map(({ place }) => place));
  }
});

describe("the world", () => {
  test("clock, chance, disk, network and process are read by the real ports alone", () => {
    const strays = sources.flatMap((source) => {
      const allowed = realPorts.filter((port) => isIn(source.path, port.in)).flatMap(({ reads }) => reads);
      return readsOf(source).filter((read) => !allowed.some((each) => covers(each, read)));
    });
    expect(strays.map(({ place }) => place)).toEqual([]);
  });

  test("a real port that does not read any more what it may is taken off the list", () => {
    const stale = realPorts.flatMap((port) => {
      const actual = sources.filter(({ path }) => isIn(path, port.in)).flatMap(readsOf);
      const unread = port.reads.filter((each) => !actual.some((read) => covers(each, read)));
      return unread.map((each) => `${port.in} ${each}`);
    });
    expect(stale).toEqual([]);
  });

  test("only the command line has the process: what it prints, its arguments, environment, signals and exit", () => {
    const owners = sources.filter((source) => globalsOf(source, ["process", "console"]).length > 0);
    // The processes of commands are other ones than this: of its own, src/runner needs the pid. A remote runner is drained by a signal.
    const others = ["src/cli/", "src/runner/", "src/runner-client/run-remote.ts"];
    expect(pathsOf(owners).filter((path) => !others.some((each) => isIn(path, each)))).toEqual([]);
  });
});

describe("keys", () => {
  const keyFile = sources.find(({ path }) => path === "src/store/keys.ts") as SourceFile;
  // The keys of the conformance suite are made up.
  const others = sources.filter((source) => source !== keyFile && !isIn(source.path, "src/store-conformance/"));
  const roots = keyRoots(keyFile);

  test("no other file than the key file has the root of a key", () => {
    expect(roots).toEqual(expect.arrayContaining(["tasks", "payloads", "logs", "leases", "index", "requests"]));
    expect(others.flatMap((source) => rootsIn(source, roots))).toEqual([]);
  });

  test("no other file puts a key together from parts", () => {
    const users = others.filter(({ path }) => isIn(path, "src/store/") || isIn(path, "src/controller/"));
    expect(users.flatMap((source) => joinedKeys(source, keyFile))).toEqual([]);
  });
});

describe("files", () => {
  const code = ["src", "test", "bench", "examples", "scripts"].flatMap((folder) =>
    [".ts", ".mjs"].flatMap((ending) => listFiles(folder, ending)),
  );

  test(`none has more than ${hardMaxLines} lines`, () => {
    expect(code.filter((path) => countLines(path) > hardMaxLines)).toEqual([]);
  });

  test(`those of more than ${softMaxLines} lines are those that have a reason`, () => {
    const long = code.filter((path) => countLines(path) > softMaxLines);
    expect(long.sort()).toEqual(Object.keys(longFiles).sort());
  });
});

describe("what is cited", () => {
  test("is there: files of ours, in comments and in docs", () => {
    const texts = ["src", "test", "bench", "examples", "scripts", "docs"].flatMap((folder) => listFiles(folder));
    const cited =
      /\b(?:src|test|bench|examples|scripts|docs|proto\/(?:stint|core))\/[\w./-]+\.(?:ts|mjs|md|proto|yaml)\b/g;
    const missing = [...texts, "README.md", "CHANGELOG.md"].flatMap((path) =>
      [...readText(path).matchAll(cited)]
        .map(([file]) => file)
        .filter((file) => !file.includes("NAME") && !existsFile(file))
        .map((file) => `${path} cites ${file}`),
    );
    expect(missing).toEqual([]);
  });
});

describe("tests", () => {
  const files = listFiles("test", ".ts").filter((path) => path !== "test/tidy.test.ts");

  test("they lie where the code lies that they test", () => {
    const mirrors = files.filter((path) => !Object.keys(testFolders).some((folder) => isIn(path, folder)));
    const misplaced = mirrors.filter((path) => {
      const folder = path.replace(/^test\//, "src/").replace(/\/(support\/)?[^/]+$/, "/");
      return !sources.some((source) => isIn(source.path, folder));
    });
    expect(misplaced).toEqual([]);
  });

  test("each folder of src has some", () => {
    const folders = new Set(sources.map(({ path }) => folderOf(path)).filter((folder) => folder.endsWith("/")));
    const untested = [...folders].filter(
      (folder) => !files.some((path) => isIn(path, folder.replace("src/", "test/"))),
    );
    expect(untested).toEqual([]);
  });

  test("what they share is used", () => {
    const used = new Set(
      ["test/tidy.test.ts", ...files].flatMap((path) => importsOf(loadSource(path))).map((each) => each.target),
    );
    // What servers of the tests load by configuration.
    for (const runner of files.filter((path) => isIn(path, "test/e2e/runners/"))) used.add(runner);
    expect(files.filter((path) => !path.endsWith(".test.ts") && !used.has(path))).toEqual([]);
  });
});

describe("what is public", () => {
  const exported = sources.filter(({ path }) => entries.includes(path)).flatMap(publicNames);
  const names = new Set(exported.map(({ name }) => name));

  test("every export says in a comment what it is", () => {
    expect(exported.filter((each) => !isExplained(each)).map(({ name, source }) => `${source.path} ${name}`)).toEqual(
      [],
    );
  });

  test("every type that an export shows is exported too", () => {
    const hidden = exported.flatMap((each) =>
      shownTypes(each).flatMap((type) => (names.has(type) ? [] : [`${type}, which ${each.name} shows`])),
    );
    expect(hidden).toEqual([]);
  });
});

function pathsOf(files: readonly SourceFile[]): string[] {
  return files.map(({ path }) => path);
}
