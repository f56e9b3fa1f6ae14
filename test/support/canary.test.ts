import { expect, test } from "vitest";
import { canary } from "./canary.ts";
import { ServedProcess } from "./served-process.ts";

/** Ends at once, and leaves a process that says the canary later, where it would have said it. */
const leaving = `
  const late = "setTimeout(() => console.error(process.env.STINT_TEST_SECRET), 300)";
  require("node:child_process").spawn(process.execPath, ["-e", late], { stdio: ["ignore", "ignore", "inherit"] }).unref();
`;

test("what a process says last is looked at, too, when it is gone already", async () => {
  const under = [process.execPath, "-e", leaving, "--"];
  const served = await ServedProcess.create({ directory: "none", config: "none", under });
  served.launch();
  await served.exited;
  await expect(served[Symbol.asyncDispose]()).rejects.toThrow(canary);
});
