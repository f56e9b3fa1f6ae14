import { describe, expect, test } from "vitest";
import { createProcessLog } from "../../src/cli/process-log.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { createFakeIo } from "./support/fake-io.ts";

function openLog(terminal: boolean) {
  const clock = createFakeClock({ wallMs: Date.UTC(2026, 10, 3, 12, 34, 56, 789) });
  const io = createFakeIo({ terminal, clock, env: { NO_COLOR: "1" } });
  return { io, log: createProcessLog(io, "info") };
}

describe("the log of a server", () => {
  test("is a line of JSON a record where no one looks at it, bidirectional overrides escaped", () => {
    const { io, log } = openLog(false);
    log.info({ taskId: "a\u202e\x1b\u{e0041}" }, "started");
    log.debug({}, "not shown");
    expect(io.stderr.text).toBe(
      '{"level":"info","time":"2026-11-03T12:34:56.789Z","taskId":"a\\u202e\\u001b\\udb40\\udc41","msg":"started"}\n',
    );
    expect(JSON.parse(io.stderr.text)).toMatchObject({ taskId: "a\u202e\x1b\u{e0041}" });
    expect(io.stdout.text).toBe("");
  });

  test("has no long lines, whatever a runner or a client has put into what is logged", () => {
    const { io, log } = openLog(false);
    const huge = "\u202e".repeat(1_000_000);
    const cause = Object.assign(new Error(huge), { huge });
    const wide = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`key${i}`, huge.slice(0, 2_000)]));
    let deep: object = { huge };
    for (let i = 0; i < 10_000; i += 1) deep = { deep };
    log.warn({ err: new Error(huge, { cause }), huge, list: Array(10_000).fill(1n), bytes: Buffer.alloc(1e6) }, "told");
    log.warn({ wide }, "told");
    log.warn({ deep }, "told");
    for (const line of io.stderr.lines) {
      expect(line.length).toBeLessThan(200_000);
      expect(JSON.parse(line)).toMatchObject({ level: "warn", msg: "told" });
    }
    expect(JSON.parse(io.stderr.lines[0] ?? "")).toMatchObject({ err: { type: "Error" }, bytes: "1000000 bytes" });
    const short = new Error("short", { cause: new Error("deeper") });
    log.error({ err: Object.assign(short, { code: "X", revision: 5n }) }, "told");
    const { err } = JSON.parse(io.stderr.lines[3] ?? "") as { err: Record<string, string> };
    expect(err).toMatchObject({ type: "Error", message: "short: deeper", code: "X", revision: "5" });
    expect(err["stack"]).toMatch(/process-log\.test\.ts[^]*caused by: Error: deeper/);
  });

  test("is a line of text a record on a terminal", () => {
    const { io, log } = openLog(true);
    log.info({ address: "127.0.0.1:1", names: ["a", "b\x1b"], count: 2 }, "up");
    log.warn({ err: new Error("disk\nfull") }, "cannot write");
    expect(io.stderr.lines).toEqual([
      '12:34:56.789 INFO  up address=127.0.0.1:1 names=["a","b\\u001b"] count=2',
      '12:34:56.789 WARN  cannot write error="disk\\nfull"',
    ]);
  });

  test("has the stack of an error on a terminal too", () => {
    const { io, log } = openLog(true);
    log.error({ err: new Error("bug") }, "a call failed");
    expect(io.stderr.lines[0]).toBe("12:34:56.789 ERROR a call failed error=bug");
    expect(io.stderr.lines[1]).toMatch(/^ {6}at .*process-log\.test\.ts/);
  });
});
