import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import {
  formatAge,
  formatAmount,
  formatBytes,
  formatDuration,
  formatLevel,
  formatPercent,
  formatRate,
  formatTime,
  fractionOf,
} from "../../../src/cli/text/format.ts";

test.each([
  [0, "0 B"],
  [512, "512 B"],
  [999, "999 B"],
  [1536, "1.50 KiB"],
  [1023.9 * 1024, "1.00 MiB"],
  [12.34 * 1024 ** 2, "12.3 MiB"],
  [234n * 1024n ** 3n, "234 GiB"],
  [2n ** 64n - 1n, "16.0 EiB"],
])("%s bytes are %s", (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test.each([
  [-5, "0ms"],
  [850, "850ms"],
  [2100, "2.1s"],
  [9949, "9.9s"],
  [9951, "10s"],
  [59_400, "59s"],
  [59_600, "1m 00s"],
  [200_000, "3m 20s"],
  [3_599_600, "1h 00m"],
  [7_500_000, "2h 05m"],
  [276_000_000, "3d 4h"],
])("%d ms are %s", (ms, text) => {
  expect(formatDuration(ms)).toBe(text);
});

test.each([
  [-1000, "now"],
  [999, "now"],
  [5000, "5s"],
  [180_000, "3m"],
  [7_200_000, "2h"],
  [4 * 86_400_000, "4d"],
])("%d ms ago is %s", (ms, text) => {
  expect(formatAge(ms)).toBe(text);
});

describe("progress", () => {
  test.each([
    [{ current: 3n, total: 10n, unit: "" }, "3/10"],
    [{ current: 3n, total: 10n, unit: "rows" }, "3/10 rows"],
    [{ current: 12n, total: 0n, unit: "rows" }, "12 rows"],
    [{ current: 1536n, total: 1048576n, unit: "bytes" }, "1.50 KiB/1.00 MiB"],
    [{ current: 3n, total: 4n, unit: "\x1b[31m" }, "3/4 \\x1b[31m"],
  ] as const)("$1 is how an amount reads", (progress, text) => {
    expect(formatAmount(progress)).toBe(text);
  });

  test.each([
    [0n, 0n, undefined],
    [0n, 10n, "0%"],
    [999n, 1000n, "99%"],
    [29n, 100n, "29%"],
    [10n, 10n, "100%"],
    [12n, 10n, "100%"],
    [2n ** 64n - 2n, 2n ** 64n - 1n, "99%"],
  ])("%d of %d is %s: never 100%% before the end", (current, total, percent) => {
    const fraction = fractionOf({ current, total });
    expect(fraction === undefined ? undefined : formatPercent(fraction)).toBe(percent);
  });

  test.each([
    [0.25, "", "0.25/s"],
    [34.5, "rows", "34.5/s"],
    [12_345.6, "", "12346/s"],
    [1_500_000, "bytes", "1.43 MiB/s"],
  ])("%d %s a second read %s", (perSecond, unit, text) => {
    expect(formatRate(perSecond, unit)).toBe(text);
  });
});

test("a time is in UTC, and one that no calendar has is a dash", () => {
  expect(formatTime(timestampFromDate(new Date("2026-11-03T12:34:56.789Z")))).toBe("2026-11-03T12:34:56.789Z");
  expect(formatTime(undefined)).toBe("-");
  expect(formatTime({ $typeName: "google.protobuf.Timestamp", seconds: 2n ** 62n, nanos: 0 })).toBe("-");
});

test.each([
  [-4, "DEBUG"],
  [0, "INFO"],
  [4, "WARN"],
  [8, "ERROR"],
  [-8, "DEBUG-4"],
  [-1, "DEBUG+3"],
  [2, "INFO+2"],
  [12, "ERROR+4"],
])("level %d is %s, as slog writes it", (level, text) => {
  expect(formatLevel(level)).toBe(text);
});
