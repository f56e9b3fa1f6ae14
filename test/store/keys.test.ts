import { expect, test } from "vitest";
import * as keys from "../../src/store/keys.ts";

test("a number in a key is read as it was written", () => {
  expect(keys.logKeySeq(keys.logKey("c", "a", "g", 2n ** 64n - 1n))).toBe(2n ** 64n - 1n);
  expect(keys.parseTrashKey(keys.trashKey("c", "a", "g", 3n))).toEqual({ taskId: "a", generation: "g", upToSeq: 3n });
  expect(keys.parseWaitingKey(keys.waitingKey("c", 7n, "a"))).toEqual({ queueNumber: 7n, taskId: "a" });
});

test.each(["", "x", "-1", "0x10", " 1", "1.5", "1".repeat(30)])(
  "a key with %j in the place of a number is no reason to fail",
  (text) => {
    expect(keys.parseTrashKey(`/trash/c/a/g/${text}`).upToSeq).toBe(0n);
    expect(keys.parseWaitingKey(`/waiting/c/${text}/a`).queueNumber).toBe(0n);
    expect(keys.parseMention(`/logs/c/a/g/${text}`)?.seq).toBe(0n);
    expect(() => keys.logKeySeq(`/logs/c/a/g/${text}`)).not.toThrow();
  },
);
