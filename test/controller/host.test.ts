import { fromBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { LeaseSchema } from "#gen/stint/store/v1/record_pb.js";
import { refusal } from "../support/controller-harness.ts";
import { openHostHarness } from "../support/scripted-host.ts";

describe("an offer on a seat of a named runner", () => {
  test("is in the commit of a launch that finds a seat, and its revision is the fence", async () => {
    await using world = await openHostHarness(1);
    const { h, host } = world;
    const launched = await h.launch("a");
    const { phase } = await host.seat("a");
    expect([launched.status.runner, phase.context.fence]).toEqual(["host-7", launched.revision]);
    const [lease] = await h.disk.scan({ prefix: "/leases/", limit: 9 });
    expect(lease?.revision).toBe(launched.revision);
    expect(fromBinary(LeaseSchema, lease?.value ?? new Uint8Array())).toMatchObject({
      runner: "host-7",
      instanceId: "an instance",
      attempt: 1,
    });
    expect(await h.transitions("a")).toEqual(["Pending"]);
  });

  test("is a version of a task that waited, without a transition, and its revision is the fence", async () => {
    await using world = await openHostHarness(0);
    const { h, host } = world;
    const launched = await h.launch("a");
    expect([launched.status.runner, launched.status.waitingFor]).toEqual(["", "a seat of the test"]);
    host.add(1);
    const { phase } = await host.seat("a");
    const { status, revision } = await h.controller.readTask("a");
    expect([status.runner, status.waitingFor, revision]).toEqual(["host-7", "", phase.context.fence]);
    expect(revision).toBeGreaterThan(launched.revision);
    expect(await h.transitions("a")).toEqual(["Pending"]);
  });

  test("is not made where nobody waits, and the seat goes back without anybody being called", async () => {
    await using world = await openHostHarness(3);
    const { h, host } = world;
    await h.settle();
    expect([host.free, host.takings <= 2]).toEqual([3, true]);
    host.add(1);
    await h.settle();
    expect([host.free, host.takings <= 4]).toEqual([4, true]);
  });
});

describe("a run on a seat", () => {
  test("has what was said of it on disk, up to the seq of its end, and releases its seat once", async () => {
    await using world = await openHostHarness(1);
    const { h, host } = world;
    const metadata = { text: "m".repeat(2_000) };
    await h.launch("a", { metadata });
    const seat = await host.running("a");
    const { task, context } = seat.phase;
    expect((await h.stored("a"))?.record.writtenSeq).toBe(1n);
    expect(task.writtenSeq).toBe(1n);
    expect(await task.loadStatus()).toMatchObject({ state: 2, metadata: JSON.stringify(metadata), logs: [] });
    await task.write({ seq: 2n, entries: [{ level: 4, msg: "careful" }] });
    await task.write({ seq: 3n, entries: [] });
    expect((await h.stored("a"))?.record.writtenSeq).toBe(2n);
    await task.write({ seq: 4n, entries: [{ level: 0, msg: "x".repeat(20_000) }] });
    expect((await h.stored("a"))?.record).toMatchObject({ writtenSeq: 4n, endFence: 0n });
    seat.phase.done(5n, { sent: true });
    await h.settle();
    const stored = await h.stored("a");
    expect(stored?.status).toMatchObject({ state: 3, result: '{"sent":true}', runner: "host-7", logCount: 2n });
    expect(stored?.record).toMatchObject({ writtenSeq: 5n, endFence: context.fence });
    expect(host.releases).toEqual([["ended"]]);
    const { logs } = await h.controller.taskStatus("a");
    expect(logs.map(({ level, msg }) => [level, msg.length])).toEqual([
      [4, 7],
      [0, 16_382],
    ]);
  });

  test("refuses what cannot be stored, which changes nothing, and goes on", async () => {
    await using world = await openHostHarness(1);
    const { h, host } = world;
    await h.launch("a");
    const { task } = (await host.running("a")).phase;
    const { revision } = await h.controller.readTask("a");
    const entries = Array.from({ length: 9 }, () => ({ level: 0, msg: "x".repeat(16 * 1024) }));
    const progress = { $typeName: "core.v1.Progress", current: 1n, total: 0n, message: "", unit: "" } as const;
    const much = await refusal(task.write({ seq: 2n, entries }));
    const long = await refusal(
      task.write({ seq: 3n, progress: { ...progress, unit: "u".repeat(5_000) }, entries: [] }),
    );
    expect([much.code, much.details.violations?.[0]?.field]).toEqual(["INVALID_ARGUMENT", "entries"]);
    expect([long.code, long.details.violations?.[0]?.field]).toEqual(["INVALID_ARGUMENT", "progress.unit"]);
    expect((await h.controller.readTask("a")).revision).toBe(revision);
    await task.write({ seq: 4n, progress, entries: [] });
    expect((await h.stored("a"))?.record.writtenSeq).toBe(4n);
  });

  test("that has failed to prepare ends under its fence", async () => {
    await using world = await openHostHarness(1);
    const { h, host } = world;
    await h.launch("a");
    const seat = await host.seat("a");
    await h.controller.cancelTask("a");
    seat.phase.stopped(1n);
    await h.settle();
    expect((await h.stored("a"))?.record).toMatchObject({ writtenSeq: 1n, endFence: seat.phase.context.fence });
    expect([await h.state("a"), host.releases]).toEqual(["Canceled", [["ended"]]]);
  });
});

describe("a run whose seat is lost", () => {
  test.each(["pending", "running"] as const)(
    "while %s goes back to the line, in its old place, and is offered again under a higher fence",
    async (phase) => {
      await using world = await openHostHarness(1);
      const { h, host } = world;
      await h.launch("a");
      await h.launch("b");
      const seat = phase === "pending" ? await host.seat("a") : await host.running("a");
      const { task, context } = seat.phase;
      await task.write({ seq: 2n, entries: [{ level: 0, msg: "kept" }] });
      await task.active.setProgress({ current: 7 });
      seat.phase.lose("lost");
      await h.settle();
      const again = await host.seat("a");
      expect(again.phase.context).toMatchObject({ attempt: 2, runId: context.runId });
      expect(again.phase.context.fence).toBeGreaterThan(context.fence);
      expect(again.phase.task.writtenSeq).toBe(0n);
      const status = await h.controller.taskStatus("a");
      expect(status).toMatchObject({ runner: again.runner, attempt: 2, crashCount: 0, progress: { current: 7n } });
      expect(status.logs.map(({ msg }) => msg)).toEqual(["kept"]);
      const before = phase === "pending" ? ["Pending"] : ["Pending", "Running"];
      expect(await h.transitions("a")).toEqual([...before, "Pending: resumed: the runner is gone"]);
      expect(await h.state("b")).toBe("Pending");
      expect(host.releases).toEqual([["again"], []]);
      const late = await refusal(task.write({ seq: 3n, entries: [{ level: 0, msg: "late" }] }));
      expect(late.details.reason).toBe("STALE_FENCE");
    },
  );

  test("is counted as waiting, and names no runner meanwhile", async () => {
    await using world = await openHostHarness(1, { limits: { waitingMax: 1 } });
    const { h, host } = world;
    await h.launch("a");
    const seat = await host.running("a");
    host.add(-1);
    seat.phase.lose("lost");
    await h.settle();
    expect(await h.controller.taskStatus("a")).toMatchObject({ runner: "", waitingFor: "a seat of the test" });
    expect((await refusal(h.launch("b"))).code).toBe("RESOURCE_EXHAUSTED");
    host.add(1);
    await host.seat("a");
    await h.launch("b");
    expect(await h.states("a", "b")).toEqual(["Pending", "Pending"]);
  });

  test("ends as Canceled where that was asked for, up to what was said under its fence", async () => {
    await using world = await openHostHarness(1);
    const { h, host } = world;
    await h.launch("a");
    const seat = await host.running("a");
    await h.controller.cancelTask("a");
    seat.phase.lose("lost");
    await h.settle();
    const ended = { endFence: seat.phase.context.fence, endSeq: 1n };
    expect([await h.state("a"), (await h.stored("a"))?.record]).toMatchObject(["Canceled", ended]);
    const { cancel } = await h.controller.taskStatus("a");
    expect([cancel?.deliveredAt, cancel?.acknowledgedAt]).toEqual([undefined, undefined]);
  });

  test("after its phase took too long ends as Failed", async () => {
    await using world = await openHostHarness(1, { runningTimeoutMs: 1_000 });
    const { h, host } = world;
    await h.launch("a");
    const seat = await host.running("a");
    await h.clock.advance(1_001);
    expect(seat.phase.abortKind).toBe("TIMEOUT");
    seat.phase.lose("lost");
    await h.settle();
    expect((await h.controller.taskStatus("a")).error).toMatchObject({ reason: "TIMEOUT" });
  });

  test.each(["lost", "stopped"] as const)(
    "or has %s when it is launched anew makes place for the new run",
    async (how) => {
      await using world = await openHostHarness(1);
      const { h, host } = world;
      await h.launch("a");
      const seat = await host.running("a");
      const { runId } = await h.launch("a");
      expect(seat.phase.abortKind).toBe("RESTART");
      if (how === "lost") seat.phase.lose("lost");
      else seat.phase.stopped(2n);
      const next = await host.seat("a");
      expect(next.phase.context).toMatchObject({ runId, attempt: 1 });
      expect(host.releases).toEqual([[how === "lost" ? "void" : "ended"], []]);
    },
  );

  test("because its lease is gone from the store writes nothing, and its seat is void", async () => {
    await using world = await openHostHarness(1);
    const { h, host } = world;
    await h.launch("a");
    const seat = await host.running("a");
    const [key = ""] = await h.keys("/leases/");
    await h.disk.commit([{ type: "unindex", key }], []);
    const write = await refusal(seat.phase.task.write({ seq: 2n, entries: [{ level: 0, msg: "late" }] }));
    expect(write.details.reason).toBe("STALE_FENCE");
    await h.settle();
    expect(host.releases).toEqual([["void"]]);
    await h.crash();
  });
});

describe("a cancel", () => {
  test("is delivered when the runner's code was told, and not before", async () => {
    await using world = await openHostHarness(1);
    const { h, host } = world;
    await h.launch("a");
    const seat = await host.running("a");
    expect((await h.controller.cancelTask("a", { reason: "enough" })).stage).toBe("requested");
    await h.settle();
    expect((await h.controller.taskStatus("a")).cancel?.deliveredAt).toBeUndefined();
    seat.hasTold();
    await h.settle();
    const { cancel, state } = await h.controller.taskStatus("a");
    expect([cancel?.deliveredAt !== undefined, cancel?.acknowledgedAt, state]).toEqual([true, undefined, 2]);
    seat.phase.stopped(2n);
    await h.settle();
    expect((await h.controller.taskStatus("a")).cancel?.acknowledgedAt).toBeDefined();
  });
});

describe("closing", () => {
  test.each(["nothing", "CANCEL", "RESTART"])(
    "leaves a run that goes on elsewhere as it is on disk, with its lease, where %s was asked of it",
    async (asked) => {
      await using world = await openHostHarness(1);
      const { h, host } = world;
      await h.launch("a");
      const { phase } = await host.running("a");
      if (asked === "CANCEL") await h.controller.cancelTask("a");
      if (asked === "RESTART") await h.launch("a");
      const before = [await h.disk.scan({ prefix: "/leases/", limit: 9 }), await h.keys("/released/")];
      const stored = await h.stored("a");
      await h.close();
      expect([await h.disk.scan({ prefix: "/leases/", limit: 9 }), await h.keys("/released/")]).toEqual(before);
      expect(await h.stored("a")).toEqual(stored);
      expect([phase.abortKind, host.releases]).toEqual([asked === "nothing" ? undefined : asked, [["left"]]]);
      await h.open();
    },
  );

  test("stores what was said before", async () => {
    await using world = await openHostHarness(1);
    const { h, host } = world;
    await h.launch("a");
    const { phase } = await host.running("a");
    const written = phase.task.write({ seq: 2n, entries: [{ level: 0, msg: "last" }] });
    await h.close();
    await written;
    expect((await h.stored("a"))?.record.writtenSeq).toBe(2n);
    await h.open();
  });
});
