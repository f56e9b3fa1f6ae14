import { expect, test } from "vitest";
import { columnWidths, renderTable } from "../../../src/cli/text/table.ts";

const rows = [
  ["TASK", "NOTE"],
  ["日本", "x"],
  ["a", ""],
];

test("columns are aligned by what is seen, without spaces at the end", () => {
  expect(renderTable(rows)).toEqual(["TASK  NOTE", "日本  x", "a"]);
});

test("further rows align with the widths of those before", () => {
  expect(renderTable([["b", "y"]], { widths: columnWidths(rows) })).toEqual(["b     y"]);
});

test("lines are cut to the terminal", () => {
  expect(renderTable(rows, { columns: 8 })[0]).toBe("TASK  N…");
});
