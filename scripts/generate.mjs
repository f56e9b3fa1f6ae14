// Makes everything that is made from something else: gen/ from proto/, and
// docs/state-machine.md from src/task/. `npm run check` fails while any of it is stale.
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { root, runTool } from "./run-tool.mjs";
import { renderStateMachine } from "./state-machine.mjs";

/** What is generated, as paths from the top of the repository. */
export const generatedPaths = ["gen", "docs/state-machine.md"];

/** Generates into `directory`, which stands for the top of the repository. */
export async function generateInto(directory) {
  // `clean: true` in buf.gen.yaml empties gen/ first, so the descriptors come after.
  await buf(["generate", "--output", directory]);
  // The image keeps the comments, which generated code does not have: reflection serves them.
  await buf(["build", "--as-file-descriptor-set", "--output", join(directory, "gen", "descriptors.binpb")]);
  const page = join(directory, "docs", "state-machine.md");
  await mkdir(dirname(page), { recursive: true });
  await writeFile(page, await renderStateMachine());
}

async function buf(args) {
  const { code, output } = await runTool("buf", args);
  if (code !== 0) throw new Error(`buf ${args[0]} failed:\n${output}`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await generateInto(root);
