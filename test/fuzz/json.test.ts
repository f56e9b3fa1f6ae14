/**
 * T-X3: requests in JSON of every method over every protocol that takes them, changed as text, as envelopes and in their headers, given to a
 * server without a port.
 *
 * FUZZ_JSON: how many (default 500). FUZZ_SEED: as in messages.test.ts.
 */
import { Code } from "@connectrpc/connect";
import { test } from "vitest";
import { readFuzzDose } from "./fuzz-dose.ts";
import { jsonChanges, makeJsonInput } from "./json-requests.ts";
import { judgeFields } from "./judge.ts";
import { runWorlds } from "./run-worlds.ts";

const dose = readFuzzDose("FUZZ_JSON", 500);

test(`${dose.count} requests in JSON: each is answered, or refused for what is wrong with it, and changes nothing then`, {
  timeout: 60_000 + dose.count * 20,
}, async () => {
  await runWorlds({
    dose,
    name: "fuzzed JSON",
    variable: "FUZZ_JSON",
    file: "test/fuzz/json.test.ts",
    changes: jsonChanges,
    make: makeJsonInput,
    judgeFields: ({ made, change }, answer) => {
      const broken = made.messages[0]?.broken ?? [];
      // What streams both ways is not served over HTTP/1.1.
      if (change !== "none" || broken.length === 0 || answer.hasLeft || answer.code === Code.Unimplemented)
        return false;
      judgeFields(answer, broken);
      return true;
    },
  });
});
