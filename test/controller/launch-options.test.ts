import { expect, test } from "vitest";
import type { LaunchOptions } from "../../src/controller/controller.ts";
import { invalidFields, openHarness } from "../support/controller-harness.ts";

const circular: Record<string, unknown> = {};
circular["self"] = circular;

// Some of these TypeScript would not let through, and JavaScript does.
const bad: ReadonlyArray<[what: string, taskId: string, options: object, fields: string[]]> = [
  ["no task id", "", {}, ["task_id"]],
  ["a task id with a slash", "a/b", {}, ["task_id"]],
  ["metadata given twice", "a", { metadata: {}, jsonMetadata: "{}" }, ["metadata"]],
  ["metadata that is a list", "a", { metadata: [1] }, ["metadata"]],
  ["metadata that is null", "a", { metadata: null }, ["metadata"]],
  ["metadata that is text", "a", { metadata: "text" }, ["metadata"]],
  ["metadata that has no end", "a", { metadata: circular }, ["metadata"]],
  ["metadata that JSON cannot encode", "a", { metadata: { big: 1n } }, ["metadata"]],
  ["metadata that JSON has not", "a", { metadata: () => {} }, ["metadata"]],
  ["metadata whose getter throws", "a", { metadata: throwing() }, ["metadata"]],
  ["metadata above 256 KiB", "a", { metadata: { text: "x".repeat(256 * 1024) } }, ["metadata"]],
  ["JSON metadata that is no JSON", "a", { jsonMetadata: "{" }, ["json_metadata"]],
  ["JSON metadata that is a list", "a", { jsonMetadata: "[]" }, ["json_metadata"]],
  [
    "JSON metadata that is too deep",
    "a",
    { jsonMetadata: `{"a":${"[".repeat(40)}${"]".repeat(40)}}` },
    ["json_metadata"],
  ],
  ["a label that has no name", "a", { labels: { "": "x" } }, ['labels[""]']],
  ["a policy that is none", "a", { ifActive: "restart?", ifEnded: "maybe" }, ["if_active", "if_ended"]],
  ["an owner that is no text", "a", { owner: "\ud800" }, ["owner"]],
  ["a request id above 128 bytes", "a", { requestId: "x".repeat(129) }, ["request_id"]],
  [
    "everything wrong",
    "..",
    { metadata: [], labels: { "a b": "x".repeat(257) }, ifActive: 5, requestId: "\n" },
    ["task_id", "request_id", "if_active", 'labels["a b"]', 'labels["a b"]', "metadata"],
  ],
];

function throwing(): object {
  return Object.defineProperty({}, "a", {
    enumerable: true,
    get: () => {
      throw new Error("getter");
    },
  });
}

test.each(bad)(
  "a launch with %s is refused, names every bad option, and changes nothing",
  async (_, taskId, options, fields) => {
    await using h = await openHarness();
    const named = await invalidFields(h.launch(taskId, options as LaunchOptions));
    expect([...named].sort()).toEqual([...fields].sort());
    expect([h.disk.revision(), h.runner.phases]).toEqual([0n, []]);
  },
);

test("a launch is of what its options were when it was asked for", async () => {
  await using h = await openHarness();
  const labels: Record<string, string> = { env: "before" };
  const metadata = { n: 1 };
  const launched = h.launch("a", { labels, metadata, requestId: "r" });
  labels["env"] = "after";
  labels["not a label"] = "x";
  metadata.n = 2;
  expect((await launched).status).toMatchObject({ labels: { env: "before" }, metadata: '{"n":1}' });
});
