import { describe, expect, test } from "vitest";
import { create } from "@bufbuild/protobuf";
import { TaskErrorSchema } from "#gen/core/v1/core_pb.js";
import { RunPhase, type TaskOffer } from "#gen/stint/v1/runner_pb.js";
import { type Harness, observed } from "../support/controller-harness.ts";
import type { FakeLink } from "../support/fake-link.ts";
import { connect, leaseMs, offerOf, openRemoteHarness, passAlive, runningOn } from "../support/remote-harness.ts";

describe("a write under a void fence", () => {
  async function paused(): Promise<{ h: Harness; link: FakeLink; other: FakeLink; old: TaskOffer; now: TaskOffer }> {
    const h = await openRemoteHarness();
    const link = connect(h, "one");
    const old = await runningOn(h, link, "a");
    const other = connect(h, "two");
    await passAlive(h, leaseMs * 1.2, other);
    const now = await offerOf(h, other, "a", RunPhase.PENDING);
    void other.accept(now);
    link.take();
    return { h, link, other, old, now };
  }

  test("changes nothing, is refused, counted, and kept to be seen", async () => {
    const { h, link, old } = await paused();
    await using _ = h;
    const before = await h.controller.taskStatus("a");
    await link.write(old, { current: 99, entries: ["late"] });
    await link.end(old, RunPhase.RUNNING, { case: "done", value: { result: "1" } });
    expect(link.take()).toEqual([`refused a ${old.fence} 2 STALE_FENCE`, `refused a ${old.fence} 3 STALE_FENCE`]);
    expect((await h.controller.taskStatus("a")).rejectedWrites).toBe(0n);
    expect(h.faults.counts().stale_writes_refused).toBe(2);
    await h.clock.advance(1_000);
    const status = await h.controller.taskStatus("a");
    expect(status).toMatchObject({ state: before.state, attempt: 2, rejectedWrites: 2n, result: undefined });
    expect([status.progress, status.transitions.length]).toEqual([before.progress, before.transitions.length]);
    expect(status.logs.map(({ msg, level }) => [msg, level])).toEqual([
      [
        `refused of runner one (fence ${old.fence}, attempt 1), which has the task no more: progress 99, log "late"; done with 1`,
        4,
      ],
    ]);
  });

  test("of a task that has ended is counted, and nothing else of that changes", async () => {
    const { h, link, other, old, now } = await paused();
    await using _ = h;
    // What its new runner has said under higher seqs says nothing about those of the old one.
    for (let i = 0; i < 9; i += 1) void other.write(now, { current: i });
    void other.end(now, RunPhase.PENDING, {
      case: "failed",
      value: { error: create(TaskErrorSchema, { message: "no" }) },
    });
    await h.settle();
    const before = await h.controller.readTask("a");
    for (let i = 0; i < 3; i += 1) await link.write(old, { current: i });
    await h.clock.advance(1_000);
    const after = await h.controller.readTask("a");
    expect(link.take()).toEqual([2, 3, 4].map((seq) => `refused a ${old.fence} ${seq} STALE_FENCE`));
    expect(after.revision).toBeGreaterThan(before.revision);
    expect(after.status).toMatchObject({ state: 4, rejectedWrites: 3n, endTime: before.status.endTime });
    expect(after.status.logs.at(-1)?.msg).toContain("progress 0; progress 1; progress 2");
  });

  test("is kept with all others of its second, each cut to 1 KiB, as far as four entries hold them; of the rest it is said how many", async () => {
    const { h, link, old } = await paused();
    await using _ = h;
    for (let i = 0; i < 150; i += 1) await link.write(old, { entries: [`late ${i}.`] });
    await h.clock.advance(1_000);
    const [small, ...none] = (await h.controller.taskStatus("a")).logs.map(({ msg }) => msg);
    expect(none).toEqual([]);
    for (let i = 0; i < 150; i += 1) expect(small).toContain(`log "late ${i}."`);
    for (let i = 0; i < 99; i += 1) await link.write(old, { entries: [`${i}. ${"x".repeat(5_000)}`] });
    await h.clock.advance(1_000);
    const status = await h.controller.taskStatus("a");
    const large = status.logs.slice(1).map(({ msg }) => msg);
    expect([status.rejectedWrites, status.logCount]).toEqual([249n, 5n]);
    const kept = large.join("").match(/log "/g)?.length ?? 0;
    expect(kept).toBeGreaterThanOrEqual(60);
    expect(large.at(-1)?.endsWith(` (and ${99 - kept} more)`)).toBe(true);
    for (const msg of large) expect(Buffer.byteLength(msg)).toBeLessThanOrEqual(16 * 1_024);
  });

  test("is kept in the first hundred entries, however many writes those have, and counted after that", async () => {
    const { h, link, old } = await paused();
    await using _ = h;
    for (let i = 0; i < 101; i += 1) {
      await link.write(old, { entries: [`${i}.`, "x"] });
      await link.write(old, { current: 1 });
      await h.clock.advance(1_000);
    }
    const { rejectedWrites, logCount, logs } = await h.controller.taskStatus("a");
    expect([rejectedWrites, logCount]).toEqual([202n, 100n]);
    expect(logs.at(-1)?.msg).toContain('log "99.", log "x"; progress 1');
  });

  test("is kept of each task, but only its first text where very much of others waits", async () => {
    const { h, link, old } = await paused();
    await using _ = h;
    await link.write(old, { entries: ["first"] });
    for (let i = 0; i < 4_400; i += 1)
      await link.write({ taskId: `t${i % 80}`, fence: 1n }, { entries: ["x".repeat(2_000)] });
    await link.write(old, { entries: ["second"] });
    await h.clock.advance(1_000);
    await link.write(old, { entries: ["third"] });
    await h.clock.advance(1_000);
    const msgs = (await h.controller.taskStatus("a")).logs.map(({ msg }) => msg.split("no more: ")[1]);
    expect(msgs).toEqual(['log "first" (and 1 more)', 'log "third"']);
  });

  test("is kept without the attempt where the controller was opened again since", async () => {
    const { h, old } = await paused();
    await using _ = h;
    await h.crash();
    await connect(h, "one").write(old, { current: 1, seq: 9n });
    await h.clock.advance(1_000);
    expect((await h.controller.taskStatus("a")).logs.at(-1)?.msg).toBe(
      `refused of runner one (fence ${old.fence}), which has the task no more: progress 1`,
    );
  });

  test("is counted before the controller has closed", async () => {
    const { h, link, old } = await paused();
    await using _ = h;
    await link.write(old, { current: 1 });
    await h.close();
    expect((await h.stored("a"))?.status.rejectedWrites).toBe(1n);
    await h.open();
  });

  test("of a task that is not there, or a guessed fence, is refused and changes nothing", async () => {
    const { h, link, now } = await paused();
    await using _ = h;
    await link.write({ taskId: "z", fence: 1n }, { current: 1 });
    await link.write({ taskId: "a", fence: now.fence }, { current: 66 });
    await link.write({ taskId: "not/an id", fence: 1n }, { current: 1 });
    await h.clock.advance(1_000);
    expect(link.take().map((each) => each.split(" ").at(-1))).toEqual(Array(3).fill("STALE_FENCE"));
    const { rejectedWrites, progress } = await h.controller.taskStatus("a");
    expect([rejectedWrites, progress]).toEqual([1n, undefined]);
    expect(await h.keys("/tasks/")).toHaveLength(1);
  });

  test("waits for room where those of too many tasks are being counted, and nobody waits for ever", async () => {
    const { h, link, old } = await paused();
    await using _ = h;
    for (let i = 0; i < 1_023; i += 1) await link.write({ taskId: `t${i}`, fence: 1n }, { current: 1 });
    await link.write(old, { current: 1 });
    const late = Array.from({ length: 50 }, (_, i) =>
      observed(link.write({ taskId: `u${i % 2}`, fence: 1n }, { current: i }) ?? Promise.resolve()),
    );
    await h.settle();
    expect(late.map(({ state }) => state())).toEqual(Array(50).fill("waiting"));
    await h.clock.advance(1_000);
    expect(late.map(({ state }) => state())).toEqual(Array(50).fill("done"));
    expect((await h.controller.taskStatus("a")).rejectedWrites).toBe(1n);
  });
});
