// Makes everything that is made from something else: gen/ and docs/api.md from proto/,
// docs/state-machine.md from src/task/, and schema/ from src/server/config.ts. `npm run check` fails while any of it is stale.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { tsImport } from "tsx/esm/api";
import { renderApi } from "./api-docs.mjs";
import { root, runTool } from "./run-tool.mjs";
import { renderStateMachine } from "./state-machine.mjs";

/** What is generated, as paths from the top of the repository. */
export const generatedPaths = ["gen", "docs/state-machine.md", "docs/api.md", "schema"];

/** Generates into `directory`, which stands for the top of the repository. */
export async function generateInto(directory) {
  // `clean: true` in buf.gen.yaml empties gen/ first, so the descriptors come after.
  await buf(["generate", "--output", directory]);
  // The image keeps the comments, which generated code does not have: reflection serves them.
  const descriptors = join(directory, "gen", "descriptors.binpb");
  await buf(["build", "--as-file-descriptor-set", "--output", descriptors]);
  const docs = join(directory, "docs");
  await mkdir(docs, { recursive: true });
  await writeFile(join(docs, "state-machine.md"), await renderStateMachine());
  await writeFile(join(docs, "api.md"), renderApi(await readFile(descriptors)));
  const schema = join(directory, "schema");
  await mkdir(schema, { recursive: true });
  await writeFile(join(schema, "stint.schema.json"), await renderConfigSchema());
}

/** The JSON Schema of the configuration file. */
async function renderConfigSchema() {
  const { configJsonSchema } = await tsImport("../src/server/config.ts", import.meta.url);
  return `${JSON.stringify(configJsonSchema(), undefined, 2)}\n`;
}

async function buf(args) {
  const { code, output } = await runTool("buf", args);
  if (code !== 0) throw new Error(`buf ${args[0]} failed:\n${output}`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await generateInto(root);
