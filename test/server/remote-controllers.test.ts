/** The controllers of remote runners: how they come into being, and how they go. */
import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { RunPhase } from "#gen/stint/v1/runner_pb.js";
import { StateCompleted, StatePending } from "../../src/task/state.ts";
import { callError } from "../support/call-error.ts";
import { eventually } from "../support/eventually.ts";
import { RawRunner } from "../support/raw-runner.ts";
import { controller, listed, openDirectory } from "./support/remote-server.ts";

/** How the stream of a runner ends that names the controller, where it is refused. */
async function refusedHello(address: string, of: string) {
  const runner = new RawRunner(address);
  runner.hello({ controller: of });
  return runner.ended;
}

describe("a controller of remote runners", { timeout: 60_000 }, () => {
  test("is made by the hello that names it, shows who is connected, and is there after a restart until it is deleted", async () => {
    await using directory = await openDirectory();
    {
      await using started = await directory.start();
      const { client, address, launch } = started;
      expect(await listed(started)).toEqual([]);
      expect(await callError(launch("a"))).toMatchObject({ code: "NotFound" });
      await using one = await RawRunner.connect(address, { runner: "one" });
      await using two = await RawRunner.connect(address, { runner: "two" });
      expect(await listed(started)).toEqual([[controller, "REMOTE", 2]]);
      expect(await callError(client.deleteController({ controller }))).toMatchObject({
        code: "FailedPrecondition",
        message: expect.stringContaining("runners that are connected") as unknown,
      });
      await Promise.all([one.break(), two.break()]);
      await eventually(async () => expect(await listed(started)).toEqual([[controller, "REMOTE", 0]]));
      await launch("a");
      const { waitingFor = "" } = (await started.status("a")) ?? {};
      expect(waitingFor).toBe("a runner: none is connected to this controller");
      expect(await callError(client.deleteController({ controller }))).toMatchObject({
        message: expect.stringContaining("has tasks") as unknown,
      });
    }
    {
      await using started = await directory.start();
      const { client } = started;
      expect(await listed(started)).toEqual([[controller, "REMOTE", 0]]);
      expect(await started.status("a")).toMatchObject({ state: StatePending, attempt: 1 });
      await client.cancelTask({ controller, taskId: "a" });
      await client.deleteTask({ controller, taskId: "a" });
      await client.deleteController({ controller });
      expect(await listed(started)).toEqual([]);
    }
    {
      await using started = await directory.start();
      expect(await listed(started)).toEqual([]);
      await using runner = await RawRunner.connect(started.address);
      expect(runner.isOver).toBe(false);
      expect(await listed(started)).toEqual([[controller, "REMOTE", 1]]);
    }
  });

  test("of the configuration is there before any runner, has its settings, and takes no runners when it is named no longer", async () => {
    await using directory = await openDirectory();
    const remote = { name: controller, runner: { remote: {} }, concurrency: 1, runningTimeoutSeconds: 1_000 };
    {
      await using started = await directory.start({ controllers: [remote] });
      expect(await listed(started)).toEqual([[controller, "REMOTE", 0]]);
      await started.launch("a");
      await started.launch("b");
      await using runner = await RawRunner.connect(started.address);
      const a = await runner.takeOffer("a");
      await runner.prepare(a);
      // One at a time, though the runner would take ten.
      expect(await started.status("b")).toMatchObject({ state: StatePending, runner: "" });
      await runner.written(a, runner.end(a, RunPhase.RUNNING));
      expect((await runner.takeOffer("b")).attempt).toBe(1);
      expect(await callError(started.client.deleteController({ controller }))).toMatchObject({
        code: "FailedPrecondition",
        message: expect.stringContaining("the configuration names") as unknown,
      });
    }
    {
      await using started = await directory.start({ controllers: [] });
      expect(await refusedHello(started.address, controller)).toMatchObject({
        code: Code.FailedPrecondition,
        message: expect.stringContaining("no longer names") as unknown,
      });
      expect(await started.status("a")).toMatchObject({ state: StateCompleted });
      expect((await started.status("b"))?.waitingFor).toContain("no longer names");
      expect(await callError(started.launch("c"))).toMatchObject({ code: "FailedPrecondition" });
    }
    {
      await using started = await directory.start({ controllers: [remote] });
      await using runner = await RawRunner.connect(started.address, { runner: "other" });
      const b = await runner.takeOffer("b", 30_000);
      await runner.prepare(b);
      await runner.written(b, runner.end(b, RunPhase.RUNNING));
      expect(await started.status("b")).toMatchObject({ state: StateCompleted });
    }
  });

  test("is not the server's own: a hello that names that is refused", async () => {
    await using directory = await openDirectory();
    const own = { name: "own", runner: { module: "examples/runners/countdown.ts" } };
    await using started = await directory.start({ controllers: [own] });
    expect(await refusedHello(started.address, "own")).toMatchObject({
      code: Code.FailedPrecondition,
      message: 'the server itself runs the tasks of the controller "own"',
    });
  });

  test("is made once, however many say hello at the same time, and so many are made at most", async () => {
    await using directory = await openDirectory({ limits: { runnerControllersMax: 2 } });
    await using started = await directory.start();
    const runners = await Promise.all(
      Array.from({ length: 10 }, (_, i) => RawRunner.connect(started.address, { controller: "one", runner: `r${i}` })),
    );
    expect(await listed(started)).toEqual([["one", "REMOTE", 10]]);
    await using two = await RawRunner.connect(started.address, { controller: "two" });
    expect(await refusedHello(started.address, "three")).toMatchObject({
      code: Code.ResourceExhausted,
      reason: "LIMIT",
    });
    // One that is forgotten makes room.
    await two.break();
    await eventually(async () => {
      await started.client.deleteController({ controller: "two" });
    });
    await using three = await RawRunner.connect(started.address, { controller: "three" });
    expect(three.isOver).toBe(false);
    await Promise.all(runners.map((runner) => runner.break()));
  });

  test("that is being deleted while runners come and tasks are launched loses none of them", async () => {
    await using directory = await openDirectory();
    await using started = await directory.start();
    const launched = new Set<string>();
    for (let round = 0; round < 10; round += 1) {
      const runner = await RawRunner.connect(started.address);
      await runner.break();
      const taskId = `t${round}`;
      await Promise.allSettled([
        started.client.deleteController({ controller }),
        started.launch(taskId).then(() => launched.add(taskId)),
        started.client.deleteController({ controller }),
      ]);
      const found = await started.client.listTasks({ controller }).catch(() => ({ tasks: [] }));
      expect(new Set(found.tasks.map((task) => task.taskId))).toEqual(launched);
    }
    await using runner = await RawRunner.connect(started.address);
    for (const taskId of launched) {
      const offer = await runner.takeOffer(taskId);
      await runner.prepare(offer);
      await runner.written(offer, runner.end(offer, RunPhase.RUNNING));
    }
  });
});
