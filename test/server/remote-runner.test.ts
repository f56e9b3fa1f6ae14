/** Remote runners over a server as it is: the whole protocol, by a runner whose every message the test says. */
import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { CancelStage } from "#gen/stint/v1/controller_pb.js";
import { AbortReason, RunPhase } from "#gen/stint/v1/runner_pb.js";
import { StateCanceled, StateCompleted, StateFailed, StatePending, StateRunning } from "../../src/task/state.ts";
import { eventually } from "../support/eventually.ts";
import { RawRunner } from "../support/raw-runner.ts";
import { controller, openDirectory } from "./support/remote-server.ts";

describe("a remote runner", { timeout: 60_000 }, () => {
  test("is offered a task, prepares and runs it, and what it says of it is on disk when it is answered", async () => {
    await using directory = await openDirectory();
    await using started = await directory.start();
    const { address, launch, status, client } = started;
    await using runner = await RawRunner.connect(address, { runner: "host-1", wantsCompleted: true });
    expect(runner.welcome).toMatchObject({
      protocolVersion: 1,
      held: [],
      lease: { seconds: 15n },
      keepalive: { seconds: 5n },
    });
    const { runId } = await launch("a");
    const offer = await runner.takeOffer("a");
    expect(offer).toMatchObject({ runId, phase: RunPhase.PENDING, attempt: 1 });
    expect(offer.status).toMatchObject({ state: StatePending, runner: "host-1", metadata: '{"of":"a"}' });
    expect(await status("a")).toMatchObject({ state: StatePending, runner: "host-1", attempt: 1 });
    const running = await runner.prepare(offer);
    expect(running).toMatchObject({ phase: RunPhase.RUNNING, fence: offer.fence, status: { state: StateRunning } });
    await runner.written(offer, runner.write(offer, { current: 1, entries: ["one", "two"] }));
    expect(await status("a")).toMatchObject({ state: StateRunning, progress: { current: 1n }, logCount: 2n });
    await runner.written(offer, runner.end(offer, RunPhase.RUNNING, { case: "done", value: { result: '{"sum":3}' } }));
    expect(await status("a")).toMatchObject({ state: StateCompleted, result: '{"sum":3}', attempt: 1 });
    const told = await runner.takeOffer("a");
    expect(told).toMatchObject({ phase: RunPhase.COMPLETED, status: { state: StateCompleted } });
    runner.accept(told, RunPhase.COMPLETED);
    await runner.written(told, runner.end(told, RunPhase.COMPLETED));
    await client.deleteTask({ controller, taskId: "a" });
  });

  test("is told of a cancel at once, and the status says how far that has come", async () => {
    await using directory = await openDirectory();
    await using started = await directory.start();
    await using runner = await RawRunner.connect(started.address);
    await started.launch("a");
    const offer = await runner.takeOffer("a");
    await runner.prepare(offer);
    const requested = await started.client.cancelTask({ controller, taskId: "a", reason: "enough" });
    expect(requested.stage).toBe(CancelStage.REQUESTED);
    const abort = await runner.take("abort", ({ fence }) => fence === offer.fence);
    expect(abort).toMatchObject({ reason: AbortReason.CANCEL, cancel: { reason: "enough" } });
    runner.aborted(offer);
    await eventually(async () => expect((await started.status("a"))?.cancel?.deliveredAt).toBeDefined());
    runner.end(offer, RunPhase.RUNNING, { case: "aborted", value: {} });
    await eventually(async () =>
      expect(await started.status("a")).toMatchObject({ state: StateCanceled, cancel: { acknowledgedAt: {} } }),
    );
  });

  test("fails a task with what it says, or with a result that is no JSON", async () => {
    await using directory = await openDirectory();
    await using started = await directory.start();
    await using runner = await RawRunner.connect(started.address);
    await started.launch("fails");
    await started.launch("lies");
    const fails = await runner.takeOffer("fails");
    await runner.prepare(fails);
    const error = { code: Code.NotFound, message: "no such file", reason: "RUNNER_ERROR" };
    await runner.written(fails, runner.end(fails, RunPhase.RUNNING, { case: "failed", value: { error } as never }));
    expect(await started.status("fails")).toMatchObject({ state: StateFailed, error: { message: "no such file" } });
    const lies = await runner.takeOffer("lies");
    await runner.prepare(lies);
    await runner.written(lies, runner.end(lies, RunPhase.RUNNING, { case: "done", value: { result: "{" } }));
    expect(await started.status("lies")).toMatchObject({
      state: StateFailed,
      error: { message: expect.stringContaining("not JSON") as unknown },
    });
  });

  test("that drains finishes what it has, is offered nothing more, and is forgotten when it leaves", async () => {
    await using directory = await openDirectory();
    await using started = await directory.start();
    await using runner = await RawRunner.connect(started.address);
    await started.launch("a");
    const a = await runner.takeOffer("a");
    await runner.prepare(a);
    runner.say({ case: "drain", value: {} });
    runner.beAlive(1n);
    await runner.take("keepalive");
    await started.launch("b");
    await runner.written(a, runner.end(a, RunPhase.RUNNING));
    runner.finish();
    expect(await runner.ended).toMatchObject({ code: 0 });
    expect(runner.seen).toEqual([]);
    expect(await started.status("b")).toMatchObject({ state: StatePending, attempt: 1 });
    await using other = await RawRunner.connect(started.address, { runner: "other" });
    expect((await other.takeOffer("b")).attempt).toBe(1);
  });

  test("that comes back on a new stream goes on with its task, and says again what was not answered", async () => {
    await using directory = await openDirectory();
    await using started = await directory.start();
    await using first = await RawRunner.connect(started.address);
    await started.launch("a");
    const offer = await first.takeOffer("a");
    await first.prepare(offer);
    const seq = first.write(offer, { current: 3, entries: ["three"] });
    await first.written(offer, seq);
    const { taskId, fence } = offer;
    const held = [{ taskId, fence, phase: RunPhase.RUNNING }] as never;
    await using second = await RawRunner.connect(started.address, { held });
    expect(await first.ended).toMatchObject({ code: Code.Aborted, reason: "CONFLICT" });
    expect(second.welcome.held).toMatchObject([{ taskId, fence, phase: RunPhase.RUNNING, writtenSeq: seq }]);
    second.write(offer, { entries: ["three"], seq });
    await second.written(offer, second.write(offer, { entries: ["four"], seq: seq + 1n }));
    await second.written(offer, second.end(offer, RunPhase.RUNNING, undefined, seq + 2n));
    const { entries } = await started.client.listTaskLogs({ controller, taskId });
    expect(entries.map(({ msg }) => msg)).toEqual(["three", "four"]);
    expect(await started.status("a")).toMatchObject({ state: StateCompleted, attempt: 1 });
  });

  test("goes on over a restart of the server with what it has, and a cancel from before reaches it", async () => {
    await using directory = await openDirectory();
    const before = await directory.start();
    const runner = await RawRunner.connect(before.address);
    for (const taskId of ["a", "b"]) await before.launch(taskId);
    // One at a time: it is offered more when it has shown to take them.
    const a = await runner.takeOffer("a");
    await runner.prepare(a);
    const b = await runner.takeOffer("b");
    await runner.prepare(b);
    await runner.written(a, runner.write(a, { current: 5, entries: ["five"] }));
    await before.client.cancelTask({ controller, taskId: "b" });
    await before.server.close();
    expect(await runner.ended).toMatchObject({ code: Code.Unavailable, reason: "DRAINING" });

    await using after = await directory.start();
    expect(await after.status("a")).toMatchObject({ state: StateRunning, attempt: 1, runner: "raw" });
    const held = [a, b].map(({ taskId, fence }) => ({ taskId, fence, phase: RunPhase.RUNNING })) as never;
    await using again = await RawRunner.connect(after.address, { held });
    expect(again.welcome.held.map(({ taskId, writtenSeq }) => [taskId, writtenSeq])).toEqual([
      ["a", 2n],
      ["b", 1n],
    ]);
    expect(await again.take("abort")).toMatchObject({ taskId: "b", reason: AbortReason.CANCEL });
    await again.written(b, again.end(b, RunPhase.RUNNING, { case: "aborted", value: {} }, 2n));
    await again.written(a, again.end(a, RunPhase.RUNNING, undefined, 3n));
    expect(await after.status("a")).toMatchObject({ state: StateCompleted, attempt: 1, progress: { current: 5n } });
    expect(await after.status("b")).toMatchObject({ state: StateCanceled, attempt: 1 });
  });

  test("that is gone for its lease loses its task to another, and what it says late is refused and kept to be seen", {
    timeout: 60_000,
  }, async () => {
    await using directory = await openDirectory({ limits: { leaseMs: 5_000 } });
    await using started = await directory.start();
    const gone = await RawRunner.connect(started.address, { runner: "gone" });
    await started.launch("a");
    const old = await gone.takeOffer("a");
    await gone.prepare(old);
    await gone.written(old, gone.write(old, { current: 7 }));
    await using other = await RawRunner.connect(started.address, { runner: "other" });
    // The other one is alive all the time, and the first says nothing.
    const alive = setInterval(() => other.beAlive(), 500);
    const offer = await other.takeOffer("a", 15_000);
    clearInterval(alive);
    expect(offer).toMatchObject({ attempt: 2, status: { progress: { current: 7n } } });
    expect(offer.fence).toBeGreaterThan(old.fence);
    gone.write(old, { current: 8 });
    const refused = await gone.take("refused");
    expect(refused).toMatchObject({ taskId: "a", fence: old.fence, error: { code: Code.FailedPrecondition } });
    await other.prepare(offer);
    await other.written(offer, other.end(offer, RunPhase.RUNNING));
    await eventually(async () => expect(await started.status("a")).toMatchObject({ rejectedWrites: 1n }));
    expect(await started.status("a")).toMatchObject({ state: StateCompleted, progress: { current: 7n } });
    await gone.break();
  });
});
