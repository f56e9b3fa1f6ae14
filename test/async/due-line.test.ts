import { expect, test } from "vitest";
import { DueLine } from "../../src/async/due-line.ts";
import { createFakeClock } from "../support/fake-clock.ts";

function setUp() {
  const clock = createFakeClock();
  const line = new DueLine(100);
  const told: string[] = [];
  const member = (name: string, onDue = (): void => {}) => ({
    due() {
      told.push(`${name} ${clock.mono()}`);
      onDue();
    },
  });
  return { clock, line, told, member };
}

test("each is due its time after it was put in, with one timer for all", async () => {
  const { clock, line, told, member } = setUp();
  const members = ["a", "b", "c", "d"].map((name) => member(name));
  for (const each of members.slice(0, 3)) {
    line.put(clock, each);
    await clock.advance(10);
  }
  line.put(clock, members[0]!);
  line.remove(members[1]!);
  expect(clock.pending()).toBe(1);
  await clock.advance(200);
  expect(told).toEqual(["c 120", "a 130"]);
  expect([clock.pending(), line.has(members[0]!)]).toEqual([0, false]);
});

test("a line in which nobody is left has no timer", async () => {
  const { clock, line, told, member } = setUp();
  const [a, b] = [member("a"), member("b")];
  line.put(clock, a);
  line.put(clock, b);
  line.remove(a);
  line.remove(a);
  expect(clock.pending()).toBe(1);
  line.remove(b);
  expect(clock.pending()).toBe(0);
  await clock.advance(1_000);
  expect(told).toEqual([]);
});

test("a line that is cleared has no timer, and tells nobody", async () => {
  const { clock, line, told, member } = setUp();
  line.put(clock, member("a"));
  line.put(clock, member("b"));
  line.clear();
  expect(clock.pending()).toBe(0);
  line.put(clock, member("c"));
  await clock.advance(1_000);
  expect(told).toEqual(["c 100"]);
});

test("who is put in anew when it is due keeps nobody behind it waiting", async () => {
  const { clock, line, told, member } = setUp();
  const again = member("again", () => line.put(clock, again));
  line.put(clock, again);
  await clock.advance(30);
  line.put(clock, member("once"));
  await clock.advance(270);
  expect(told).toEqual(["again 100", "once 130", "again 200", "again 300"]);
  line.remove(again);
  expect(clock.pending()).toBe(0);
});
