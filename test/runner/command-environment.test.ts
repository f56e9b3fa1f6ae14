import { describe, expect, test } from "vitest";
import { checkVariableName, resolveEnvironment, taskEnvironment } from "../../src/runner/command-environment.ts";

const server = {
  PATH: "/bin",
  HOME: "/root",
  LC_ALL: "C",
  TZ: "UTC",
  LD_PRELOAD: "/evil.so",
  NODE_OPTIONS: "--inspect",
  SECRET: "s",
  STINT_DATA_DIR: "/data",
  UNSET: undefined,
};

describe("of the server's environment a command gets", () => {
  test("what is allowed, and nothing else", () => {
    expect(resolveEnvironment({}, server)).toEqual({ PATH: "/bin", HOME: "/root", LC_ALL: "C", TZ: "UTC" });
  });

  test("what the configuration names, and what it sets wins", () => {
    const config = {
      passEnv: ["SECRET", "UNSET", "NOWHERE", "STINT_DATA_DIR"],
      env: { PATH: "/opt/bin", NODE_OPTIONS: "" },
    };
    expect(resolveEnvironment(config, server)).toEqual({
      PATH: "/opt/bin",
      HOME: "/root",
      LC_ALL: "C",
      TZ: "UTC",
      SECRET: "s",
      NODE_OPTIONS: "",
    });
  });
});

test.each(["", "1A", "A-B", "A=B", "A B", "STINT_TASK_ID"])("the name %j is refused", (name) => {
  expect(checkVariableName(name)).toMatch(/^must /);
});

describe("of its task a command gets", () => {
  const task = { taskId: "t", controller: "c", runId: "r", attempt: 2, fence: 2n ** 60n };

  test("what it is", () => {
    const all = taskEnvironment({ ...task, progress: { current: 3n, total: 10n }, jsonMetadata: '{"a":1}' });
    expect(all).toEqual({
      STINT_TASK_ID: "t",
      STINT_CONTROLLER: "c",
      STINT_RUN_ID: "r",
      STINT_ATTEMPT: "2",
      STINT_FENCE: "1152921504606846976",
      STINT_PROGRESS: "3/10",
      STINT_METADATA: '{"a":1}',
    });
  });

  test("no progress where none is kept, and no metadata where there is none or too much", () => {
    const names = (jsonMetadata: string): string[] =>
      Object.keys(taskEnvironment({ ...task, progress: undefined, jsonMetadata }));
    expect(names("")).not.toContain("STINT_METADATA");
    expect(names("")).not.toContain("STINT_PROGRESS");
    expect(names("x".repeat(65_536))).toContain("STINT_METADATA");
    expect(names("x".repeat(65_537))).not.toContain("STINT_METADATA");
    expect(names("ä".repeat(32_769))).not.toContain("STINT_METADATA");
  });
});
