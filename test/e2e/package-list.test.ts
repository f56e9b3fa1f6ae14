/**
 * What is published: nothing but what is meant to be, the same bytes from the same tree, and nothing that runs when it is installed. What it can do once it is installed is
 * test/clients/package.test.ts. Needs dist/ (npm run build).
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import packageJson from "../../package.json" with { type: "json" };
import packageLock from "../../package-lock.json" with { type: "json" };
import { makeScratchDirectory, type ScratchDirectory } from "../support/scratch-directory.ts";
import { repositoryRoot } from "../support/served-process.ts";

const run = promisify(execFile);
/** Copying and packing hundreds of files takes long on a machine that has much else to do. */
const timeout = 300_000;

/** Everything that may be in the package. */
const allowed: readonly RegExp[] = [
  /^(LICENSE|README\.md|package\.json)$/,
  /^dist\/(async|cli|controller|messages|rpc|runner|runner-client|server|store|store-conformance|task)\/[\w/-]+\.(js|d\.ts)$/,
  /^dist\/[\w-]+\.(js|d\.ts)$/,
  /^gen\/[\w/-]+_pb\.(js|d\.ts)$/,
  /^gen\/descriptors\.binpb$/,
  /^proto\/[\w/]+\.proto$/,
  /^schema\/stint\.schema\.json$/,
  /^docs\/[\w-]+\.md$/,
  /^examples\/stint\.yaml$/,
  /^examples\/(exec|runners|remote\/\w+)\/[\w-]+\.(ts|py|go|sh)$/,
  /^examples\/clients\/\w+\/([\w/-]+\.(d\.mts|ts|mjs|py|go|java|html)|[\w-]+)$/,
  /^examples\/(clients\/(browser\/)?|remote\/)README\.md$/,
  /^examples\/(clients|remote)\/\w+\/(run|go\.mod|go\.sum|pom\.xml|requirements\.txt|buf\.gen\.yaml|tsconfig\.json)$/,
];

/** What building and running the examples leaves, and what somebody may have lying there. */
const leftovers = [
  "docs/.env",
  "examples/.npmrc",
  "examples/server.log",
  "examples/stint-data/store/stint-store.json",
  "examples/exec/stint-archives/a.tar",
  "examples/clients/go/bin/client",
  "examples/clients/python/gen/a_pb2.py",
  "examples/clients/java/target/client.jar",
  "examples/remote/python/.venv/lib/site.py",
  "examples/remote/python/__pycache__/runner.pyc",
  "examples/remote/go/bin/runner",
  "dist/cli/main.js.map",
  "test/secret.pem",
  "secret.pem",
];

/** What npm looks at, as it is built, in a directory of its own. */
async function makeTree(): Promise<ScratchDirectory> {
  const tree = await makeScratchDirectory();
  const folders = packageJson.files.filter((each) => !each.startsWith("!"));
  for (const name of ["package.json", ".gitignore", "LICENSE", "README.md", ...folders]) {
    const filter = (source: string): boolean => !source.endsWith(".map");
    await cp(join(repositoryRoot, name), join(tree.path, name), { recursive: true, filter });
  }
  return tree;
}

interface Packed {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

async function pack(path: string, ...options: readonly string[]): Promise<Packed> {
  const { stdout } = await run("npm", ["pack", "--json", "--ignore-scripts", ...options], { cwd: path });
  return (JSON.parse(stdout) as [Packed])[0];
}

describe("the package", () => {
  test("has what the list of what may be in it has, whatever lies in the tree", { timeout }, async () => {
    await using tree = await makeTree();
    for (const path of leftovers) {
      await mkdir(dirname(join(tree.path, path)), { recursive: true });
      await writeFile(join(tree.path, path), "secret");
    }
    const { files } = await pack(tree.path, "--dry-run");
    const paths = files.map(({ path }) => path);
    expect(paths.filter((path) => !allowed.some((each) => each.test(path)))).toEqual([]);
    expect(paths.filter((path) => leftovers.includes(path))).toEqual([]);
    const unused = allowed.filter((each) => !paths.some((path) => each.test(path)));
    expect(unused, "is allowed, and not there").toEqual([]);
  });

  test("is the same bytes wherever and whenever it is made of the same tree", { timeout }, async () => {
    const hashes: string[] = [];
    for (let i = 0; i < 2; i += 1) {
      await using tree = await makeTree();
      const { filename } = await pack(tree.path);
      hashes.push(
        createHash("sha256")
          .update(await readFile(join(tree.path, filename)))
          .digest("hex"),
      );
    }
    expect(hashes[1]).toBe(hashes[0]);
  });

  test("runs nothing when it is installed", () => {
    const hooks = ["preinstall", "install", "postinstall", "prepare", "preprepare", "postprepare", "prepublish"];
    expect(Object.keys(packageJson.scripts).filter((name) => hooks.includes(name))).toEqual([]);
  });

  test("names an exact version of each dependency, and of those that have install scripts lets none run here", () => {
    const { dependencies, devDependencies, allowScripts } = packageJson;
    const ranges = Object.entries({ ...dependencies, ...devDependencies }).filter(
      ([, version]) => !/^\d+\.\d+\.\d+$/.test(version),
    );
    expect(ranges).toEqual([]);
    const locked = Object.entries(packageLock.packages as Record<string, { hasInstallScript?: boolean }>);
    const withScripts = locked.filter(([, { hasInstallScript }]) => hasInstallScript === true);
    expect(withScripts.map(([path]) => path.replace(/^.*node_modules\//, "")).sort()).toEqual(
      Object.keys(allowScripts).sort(),
    );
    expect(new Set(Object.values(allowScripts))).toEqual(new Set([false]));
  });
});
