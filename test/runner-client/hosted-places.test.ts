/** How many handlers run at one time, with a session that is the test. */
import { describe, expect, test } from "vitest";
import { RunPhase } from "#gen/stint/v1/runner_pb.js";
import { heldRunner, openHosted } from "./support/hosted-harness.ts";

const { COMPLETED } = RunPhase;

describe("a handler that runs on though its task was lost", () => {
  test("takes a place: what is offered beyond those is taken when it has stopped", async () => {
    const ends: Array<() => void> = [];
    const h = openHosted({ onTaskRunning: () => new Promise<void>((resolve) => ends.push(resolve)) }, { capacity: 2 });
    await h.run(5n);
    await h.run(6n);
    for (const fence of [5n, 6n]) h.receive({ type: "lost", fence });
    for (const fence of [7n, 8n, 9n]) await h.offer(fence);
    expect(h.said()).toEqual([]);
    // It has waited for too long: another has it.
    h.receive({ type: "lost", fence: 7n });
    ends[0]?.();
    await h.settle();
    // Of the first phase nothing runs any more: the other begins too.
    expect(h.posted).toMatchObject([
      { type: "accept", fence: 8n },
      { type: "end", end: { fence: 8n } },
      { type: "accept", fence: 9n },
      { type: "end", end: { fence: 9n } },
    ]);
  });

  test("does not take one from the telling of an end", async () => {
    const h = openHosted({ onTaskRunning: () => new Promise(() => {}) }, { capacity: 1 });
    await h.run(5n);
    h.receive({ type: "lost", fence: 5n });
    await h.offer(6n, COMPLETED);
    expect(h.said()).toEqual(["accept 3", "end 1 done"]);
  });

  test("is not waited for by what was offered when a drain began", async () => {
    const { runner, held } = heldRunner();
    const h = openHosted(runner, { capacity: 1 });
    await h.run(5n);
    h.receive({ type: "lost", fence: 5n });
    await h.offer(6n);
    h.hosted.drain();
    held.return();
    await h.settle();
    expect(h.said()).toEqual(["drain"]);
  });
});
