import { expect, test } from "vitest";
import { Faults } from "../../src/faults.ts";
import { createStrayErrors } from "../../src/server/stray-errors.ts";
import { createFakeClock } from "../support/fake-clock.ts";

test("of rejections that nobody handles ten are logged in 10 s, each with how many there were", async () => {
  const clock = createFakeClock();
  const counts: unknown[] = [];
  const log = { debug() {}, info() {}, warn() {}, error: (fields: object) => void counts.push(fields) };
  const strays = createStrayErrors(new Faults({ clock, log }), log);
  for (let i = 0; i < 1_000; i += 1) strays.rejected(new Error("floating"));
  expect(counts).toMatchObject(Array.from({ length: 10 }, (_, i) => ({ err: { message: "floating" }, count: i + 1 })));
  await clock.advance(10_000);
  strays.rejected(undefined);
  expect(counts.slice(10)).toMatchObject([{ count: 1_001 }]);
});
