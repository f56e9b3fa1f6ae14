// Reads what vitest's JSON reporter has written: prints "PASSED FAILED", and on stderr what failed and why. A file
// that could not be run counts as a test that failed; a report that is not there has none of either.
import { readFile } from "node:fs/promises";

const report = await readFile(process.argv[2] ?? "", "utf8").then(JSON.parse, () => ({ testResults: [] }));
const failures = report.testResults.flatMap((file) => {
  const failed = file.assertionResults.filter(({ status }) => status === "failed");
  if (failed.length === 0 && file.status === "failed") return [`${file.name}\n${file.message}`];
  return failed.map((test) => `${file.name} > ${test.fullName}\n${test.failureMessages[0]}`);
});
for (const failure of failures) process.stderr.write(`${failure}\n`);
console.log(report.numPassedTests ?? 0, failures.length);
