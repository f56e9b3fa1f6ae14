import { describe, expect, test } from "vitest";
import { openLiveView } from "../../src/cli/live-view.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { createFakeIo } from "./support/fake-io.ts";
import { showScreen } from "./support/fake-screen.ts";
import { at, Completed, Failed, Pending, Running, startMs, taskStatus, watchMessage } from "./support/fake-task.ts";

function openView(options: { logs?: boolean; env?: Record<string, string> } = {}) {
  const clock = createFakeClock({ wallMs: startMs });
  const env = { NO_COLOR: "1", LANG: "C", ...options.env };
  const io = createFakeIo({ terminal: true, columns: 100, clock, env });
  const view = openLiveView(io, { name: "countdown/demo", logs: options.logs ?? false });
  // The time of day depends on where the test runs.
  const lines = () =>
    showScreen(io.stdout.text, 100).lines.map((line) => line.replace(/^\d\d(:\d\d){2}/, "TIME").trimEnd());
  return { clock, io, view, lines };
}

function running(current: bigint, init: object = {}) {
  return watchMessage(
    taskStatus([Pending, Running], { progress: { current, total: 10n, message: "counting" }, ...init }),
  );
}

describe("the live view", () => {
  test("shows the bar with rate and time left, what the task does, and transitions above", async () => {
    const { clock, view, lines } = openView();
    view.message(watchMessage(taskStatus([Pending], { waitingFor: "a free place" })));
    expect(lines()).toEqual(["TIME Pending", "countdown/demo Pending", "  waits for a free place"]);
    view.message(running(0n));
    await clock.advance(2000);
    view.message(running(2n));
    await clock.advance(100);
    expect(lines()).toEqual([
      "TIME Pending",
      "TIME Running",
      "countdown/demo Running  #######-----------------------------   20%  2/10   1.00/s      8.0s left",
      "  counting",
    ]);
    view.close();
  });

  test("shows the last log line below the bar, or all of them above it", () => {
    const logs = [
      { msg: "step 1", level: 0, timestamp: at(2), seq: 1n },
      { msg: "step\x1b 2", level: 4, timestamp: at(3), seq: 2n },
    ];
    const message = { ...running(2n), logs: watchMessage(undefined, { logs }).logs };
    const below = openView();
    below.view.message(message);
    expect(below.lines().at(-1)).toBe("  WARN step\\x1b 2");
    const above = openView({ logs: true });
    above.view.message(message);
    expect(above.lines().slice(0, 3)).toEqual(["TIME Running", "TIME INFO step 1", "TIME WARN step\\x1b 2"]);
    expect(above.lines().at(-1)).toBe("  counting");
  });

  test("starts the rate anew with a new run", async () => {
    const { clock, view, lines } = openView();
    view.message(running(0n));
    await clock.advance(1000);
    view.message(running(5n, { runId: "run-2" }));
    await clock.advance(100);
    expect(lines().join("\n")).not.toContain("/s");
  });

  test("says that there is no connection, and that there is one again", async () => {
    const { io, view, lines } = openView();
    view.message(running(2n));
    view.connection(false, "Lost the connection.");
    expect(lines().at(-1)).toBe("  no connection, trying again");
    view.connection(true, "Connected again.");
    expect(lines().at(-1)).toBe("  counting");
    expect(io.stderr.lines).toEqual(["Lost the connection.", "Connected again."]);
  });

  test("ends with how the task ended, and gives the cursor back", () => {
    const { io, view, lines } = openView();
    view.message(running(9n));
    const progress = { current: 10n, total: 10n };
    view.message(
      watchMessage(taskStatus([Pending, Running, Completed], { progress, endTime: at(3), result: '{"counted":10}' })),
    );
    view.close();
    view.close();
    expect(lines().slice(-3)).toEqual([
      `countdown/demo Completed  ${"#".repeat(40)}  100%  10/10  in 2.0s`,
      '  result {"counted":10}',
      "",
    ]);
    expect(showScreen(io.stdout.text, 100).cursor).toBe(true);
  });

  test("ends with why the task failed", () => {
    const { view, lines } = openView();
    view.message(
      watchMessage(taskStatus([Pending, Running, Failed], { error: { message: "boom", reason: "RUNNER_ERROR" } })),
    );
    view.close();
    expect(lines()).toContain("  boom (RUNNER_ERROR)");
  });

  test("has colors unless NO_COLOR is set, and signs beyond ASCII where the locale has them", () => {
    const colored = openView({ env: { NO_COLOR: "", LANG: "en_US.UTF-8" } });
    colored.view.message(running(5n));
    // oxlint-disable-next-line no-control-regex -- control characters are what this is about
    expect(colored.io.stdout.text).toMatch(/\x1b\[36m█+░+/);
    const plain = openView();
    plain.view.message(running(5n));
    // oxlint-disable-next-line no-control-regex -- control characters are what this is about
    expect(plain.io.stdout.text).not.toMatch(/\x1b\[\d*m/);
  });
});
