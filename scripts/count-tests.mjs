// Reads what vitest's JSON reporter has written, and prints "PASSED FAILED". A file that could not be run counts as
// a test that failed; a report that is not there has none of either.
import { readFile } from "node:fs/promises";

const none = { testResults: [], numPassedTests: 0 };
const report = await readFile(process.argv[2] ?? "", "utf8").then(JSON.parse, () => none);
const failed = report.testResults.map(({ status, assertionResults }) => {
  const tests = assertionResults.filter((test) => test.status === "failed").length;
  return status === "failed" ? Math.max(1, tests) : tests;
});
console.log(
  report.numPassedTests,
  failed.reduce((sum, count) => sum + count, 0),
);
