/** What a program that imports the published modules loads with them. */
import { describe, expect, test } from "vitest";
import { importsOf } from "../tidy/imports.ts";
import { loadSource } from "../tidy/source-code.ts";

/** All that a file needs, over any number of steps: files of ours, and modules of others. */
function closureOf(entry: string): string[] {
  const found = new Set<string>([entry]);
  for (const path of found) {
    if (!path.startsWith("src/")) continue;
    for (const { target } of importsOf(loadSource(path))) found.add(target);
  }
  return [...found].sort();
}

describe.each(["run-remote", "session-worker", "testing"])("src/runner-client/%s.ts", (name) => {
  const closure = closureOf(`src/runner-client/${name}.ts`);

  test("needs nothing of the server, and no store", () => {
    const folders = new Set(closure.map((path) => /^(src\/[^/]+|gen|[^/]+)/.exec(path)?.[0]));
    const allowed = ["gen", "node:os", "node:tls", "node:worker_threads", "node:crypto", "@bufbuild", "@grpc"];
    const ours = [
      "async",
      "controller",
      "messages",
      "runner-client",
      "task",
      "clock.ts",
      "json-text.ts",
      "log.ts",
      "random.ts",
    ];
    expect([...folders].filter((each) => ![...allowed, ...ours.map((of) => `src/${of}`)].includes(each ?? ""))).toEqual(
      [],
    );
  });

  test("is more than one file", () => {
    expect(closure.length).toBeGreaterThan(8);
  });
});

test.each(["src/runner-client/session-worker.ts", "src/cli/client.ts"])("%s reads texts as they were sent", (entry) => {
  expect(closureOf(entry)).toContain("src/messages/whole-text.ts");
});
