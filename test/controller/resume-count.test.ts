import { expect, test } from "vitest";
import { openHarness } from "../support/controller-harness.ts";

test("an opening says how many tasks it has taken up", async () => {
  await using h = await openHarness();
  for (let i = 0; i < 20; i += 1) await h.launch(`t${i}`);
  await h.settle();
  await h.crash();
  await h.settle();
  const told = h.logged.filter(({ message }) => message.endsWith("took up what was left"));
  expect(told.map(({ fields }) => fields)).toEqual([{ resumed: 20, told: 0 }]);
});
