import { expect, test } from "vitest";
import { RwGate } from "../../src/async/rw-gate.ts";

test("many enter at once, and in the same tick", () => {
  const gate = new RwGate();
  expect(gate.enter()).toBeUndefined();
  expect(gate.enter()).toBeUndefined();
});

test("one is alone: it waits for those inside, and those after it wait for it", async () => {
  const gate = new RwGate();
  const order: string[] = [];
  await gate.enter();
  const alone = gate.alone(async () => {
    order.push("alone in");
    await Promise.resolve();
    order.push("alone out");
  });
  const late = Promise.resolve(gate.enter()).then(() => order.push("late in"));
  const lateAlone = gate.alone(async () => order.push("alone again"));
  await Promise.resolve();
  expect(order).toEqual([]);
  gate.leave();
  await alone;
  await late;
  expect(order).toEqual(["alone in", "alone out", "late in"]);
  gate.leave();
  await lateAlone;
  expect(order.at(-1)).toBe("alone again");
});

test("work that fails leaves the gate open", async () => {
  const gate = new RwGate();
  await expect(gate.alone(() => Promise.reject(new Error("failed")))).rejects.toThrow("failed");
  expect(gate.enter()).toBeUndefined();
});
