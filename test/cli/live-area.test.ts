import { describe, expect, test } from "vitest";
import { openLiveArea } from "../../src/cli/live-area.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { createFakeIo } from "./support/fake-io.ts";
import { showScreen } from "./support/fake-screen.ts";

function openArea(columns = 20) {
  const clock = createFakeClock();
  const io = createFakeIo({ terminal: true, columns, clock });
  const shown = { lines: ["one", "two"], draws: 0 };
  const area = openLiveArea(io, () => {
    shown.draws += 1;
    return shown.lines;
  });
  return { clock, io, shown, area, screen: () => showScreen(io.stdout.text, io.stdout.columns()) };
}

describe("a live area", () => {
  test("draws its lines over the ones before, however many there were", async () => {
    const { clock, shown, area, screen } = openArea();
    expect(screen()).toEqual({ lines: ["one", "two"], cursor: false });
    shown.lines = ["three"];
    area.changed();
    await clock.advance(100);
    expect(screen().lines).toEqual(["three"]);
    shown.lines = ["a", "b", "c"];
    area.changed();
    await clock.advance(100);
    expect(screen().lines).toEqual(["a", "b", "c"]);
  });

  test("draws at most every 100 ms, and once a second by itself", async () => {
    const { clock, shown, area } = openArea();
    for (let change = 0; change < 1000; change += 1) {
      area.changed();
      await clock.advance(1);
    }
    expect(shown.draws).toBeLessThanOrEqual(11);
    expect(shown.draws).toBeGreaterThanOrEqual(10);
    const before = shown.draws;
    await clock.advance(5000);
    expect(shown.draws - before).toBeGreaterThanOrEqual(4);
    expect(shown.draws - before).toBeLessThanOrEqual(6);
  });

  test("prints lines above, where they stay", async () => {
    const { area, screen, shown } = openArea();
    area.print(["first"]);
    shown.lines = ["now"];
    area.print(["second", "third"]);
    expect(screen().lines).toEqual(["first", "second", "third", "now"]);
  });

  test("makes room for what others write", () => {
    const { area, io, screen } = openArea();
    area.aside(() => io.stdout.write("a notice\n"));
    expect(screen().lines).toEqual(["a notice", "one", "two"]);
  });

  test("leaves nothing behind where the terminal has become narrower", () => {
    const { io, shown } = openArea(20);
    shown.lines = ["x".repeat(19), "two"];
    io.stdout.resize(20);
    const before = io.stdout.text.length;
    io.stdout.resize(10);
    // 19 columns have become two rows, so it goes up by two.
    // oxlint-disable-next-line no-control-regex -- control characters are what this is about
    expect(io.stdout.text.slice(before)).toMatch(/^\x1b\[2A\r\x1b\[J/);
  });

  test("gives the cursor back when it is closed, and draws no more", async () => {
    const { area, clock, io, shown, screen } = openArea();
    area.close();
    area.close();
    const written = io.stdout.text;
    expect(screen()).toEqual({ lines: ["one", "two", ""], cursor: true });
    area.changed();
    shown.lines = ["late"];
    io.stdout.resize(5);
    await clock.advance(10_000);
    io.exit();
    expect(io.stdout.text).toBe(written);
    expect(clock.pending()).toBe(0);
  });

  test("gives the cursor back when the process exits in the middle", () => {
    const { io, screen } = openArea();
    io.exit();
    expect(screen().cursor).toBe(true);
  });
});
