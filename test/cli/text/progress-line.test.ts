import fc from "fast-check";
import pico from "picocolors";
import { describe, expect, test } from "vitest";
import { TaskState } from "#gen/core/v1/core_pb.js";
import { type ProgressView, renderBar, renderProgressLine } from "../../../src/cli/text/progress-line.ts";
import { displayWidth } from "../../../src/cli/text/width.ts";

const plain = pico.createColors(false);
const running: ProgressView = {
  name: "countdown/demo",
  state: TaskState.Running,
  progress: { current: 45n, total: 100n, unit: "rows" },
  rate: 5,
  runtimeMs: 9000,
};

function render(view: Partial<ProgressView>, columns = 99, unicode = false): string {
  return renderProgressLine({ ...running, ...view }, { columns, colors: plain, unicode });
}

describe("a bar", () => {
  test.each([
    [0, "----------"],
    [0.45, "####------"],
    [0.999, "#########-"],
    [1, "##########"],
    [1.5, "##########"],
    [-1, "----------"],
  ])("of %d in ASCII is %s", (fraction, bar) => {
    expect(renderBar(fraction, 10, false)).toBe(bar);
  });

  test.each([
    [0, "░░░░"],
    [0.25, "█░░░"],
    [0.28125, "█▏░░"],
    [0.5, "██░░"],
    [0.96875, "███▉"],
    [1, "████"],
  ])("of %d in eighths is %s", (fraction, bar) => {
    expect(renderBar(fraction, 4, true)).toBe(bar);
  });
});

describe("the progress line", () => {
  test("shows all there is where there is room", () => {
    expect(render({})).toBe(
      "countdown/demo Running  #############----------------   45%  45/100 rows   5.00/s      11s left",
    );
  });

  test.each([
    [80, "countdown/demo Running  ####------   45%  45/100 rows   5.00/s      11s left"],
    [74, "countdown/demo Running  #---   45%  45/100 rows   5.00/s      11s left"],
    [73, "countdown/demo Running  ######---------   45%  45/100 rows   11s left"],
    [60, "countdown/demo Running  #######---------   45%  11s left"],
    [45, "countdown/demo Running  ######---------   45%"],
    [34, "countdown/demo Running  #---   45%"],
    [33, "countdown/demo Running 45%"],
    [20, "countdown/demo … 45%"],
    [3, "45%"],
  ])("leaves out what does not fit in %d columns", (columns, line) => {
    expect(render({}, columns)).toBe(line);
  });

  test("has its rate and its time left on 80 columns for README.md's own task, with a shorter bar", () => {
    const progress = { current: 12n, total: 25n, unit: "steps" };
    expect(render({ name: "countdown/second", progress, rate: 5 }, 80)).toBe(
      "countdown/second Running  ####-----   48%  12/25 steps  5.00/s      2.6s left",
    );
  });

  test("says how long it has run where the total is not known", () => {
    expect(render({ progress: { current: 45n, total: 0n, unit: "rows" } })).toBe(
      "countdown/demo Running  45 rows  5.00/s  9.0s",
    );
  });

  test("has no bar where there is no progress", () => {
    expect(render({ progress: undefined })).toBe("countdown/demo Running  9.0s");
    expect(render({ progress: undefined, runtimeMs: undefined, state: TaskState.Pending })).toBe(
      "countdown/demo Pending",
    );
  });

  test("says how long it took when it has ended", () => {
    const line = render({ state: TaskState.Completed, progress: { current: 100n, total: 100n, unit: "" } });
    expect(line).toBe(`countdown/demo Completed  ${"#".repeat(40)}  100%  100/100  in 9.0s`);
  });

  test("shows no time left where there is no rate", () => {
    expect(render({ rate: undefined })).not.toContain("left");
    expect(render({ rate: 0 })).not.toContain("left");
  });

  test("is never wider than the terminal, whatever it shows", () => {
    const view = fc.record({
      name: fc.string({ unit: "grapheme", maxLength: 40 }),
      state: fc.constantFrom(TaskState.Pending, TaskState.Running, TaskState.Failed),
      progress: fc.option(
        fc.record({
          current: fc.bigInt(0n, 2n ** 64n - 1n),
          total: fc.bigInt(0n, 2n ** 64n - 1n),
          unit: fc.constantFrom("", "bytes", "行"),
        }),
        { nil: undefined },
      ),
      rate: fc.option(fc.double({ min: 0, max: 1e12, noNaN: true }), { nil: undefined }),
      runtimeMs: fc.option(fc.nat(), { nil: undefined }),
    });
    fc.assert(
      fc.property(view, fc.integer({ min: 1, max: 200 }), fc.boolean(), (shown, columns, unicode) => {
        const line = renderProgressLine(shown, { columns, colors: pico.createColors(true), unicode });
        expect(displayWidth(line)).toBeLessThanOrEqual(columns);
      }),
    );
  });

  test("is colored only where colors are wanted", () => {
    expect(render({}, 99, true)).not.toContain("\x1b");
  });
});
