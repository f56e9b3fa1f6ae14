import { expect, test } from "vitest";
import { shortenStack } from "../../../src/cli/text/short-stack.ts";

const code = `data:text/javascript,${"%7B(a)%7D".repeat(400)}`;
const file = "filePath=%2Fsrv%2Fa%20b.ts%3Fnamespace%3D66229364-544d-4ae3-9e3a-25d1c6bce8b8";

test.each([
  ["is named by its file", `    at run (${code}?${file}:2:1117)`, "    at run (/srv/a b.ts)"],
  ["without a function, too", `    at ${code}?${file}:2:1117`, "    at /srv/a b.ts"],
  ["is cut where it names no file", `    at run (${code}:2:1)`, "    at run (data:…)"],
  ["is cut where the name is broken", `    at run (${code}?filePath=%E0%A4%A:2:1)`, "    at run (data:…)"],
])("a frame of a module that is a data: URL %s", (_what, frame, short) => {
  expect(shortenStack(`Error: no data: given\n${frame}\n    at file:///srv/b.js:1:2`)).toBe(
    `Error: no data: given\n${short}\n    at file:///srv/b.js:1:2`,
  );
});
