/**
 * The store fails, or the process dies, at every operation while a remote runner works, whose stream breaks besides. What was answered
 * with "written" is on disk, once and in order; each task ends once; and the runner keeps what it has.
 *
 * REMOTE_FAULTS: a number, to look at every so many-th operation only; 1 is all.
 */
import { expect, test } from "vitest";
import { createHarness, type Harness } from "../support/controller-harness.ts";
import { RunPhase } from "#gen/stint/v1/runner_pb.js";
import { heldOf } from "../support/fake-link.ts";
import { type FaultKind, FaultPlan, FaultStore } from "../support/fault-store.ts";
import { HonestRunner } from "../support/honest-runner.ts";
import { connect, offerOf, openRemoteHarness, remoteOptions, runningOn } from "../support/remote-harness.ts";

const stride = Number(process.env["REMOTE_FAULTS"] ?? 2);
const kinds: readonly FaultKind[] = ["refused", "applied", "lost", "late", "crash", "crash after"];
const ids = ["a", "b", "c"];

interface World {
  readonly h: Harness;
  readonly plan: FaultPlan;
  readonly runner: HonestRunner;
  deaths: number;
}

async function createWorld(): Promise<World> {
  const plan = new FaultPlan();
  const h = await createHarness({ remote: remoteOptions, wrap: (store) => new FaultStore(store, plan) });
  const world = { h, plan, runner: new HonestRunner("one"), deaths: 0 };
  await h.open();
  return world;
}

/** Works until all tasks have ended; `fault` is at so many operations from now. */
async function live(world: World, fault?: { at: number; kind: FaultKind }): Promise<void> {
  const { h, plan, runner } = world;
  let isDead = false;
  plan.onCrash = () => (isDead = true);
  if (fault !== undefined) {
    const at = plan.operations + fault.at;
    plan.add({ ...fault, at });
    plan.onOperation = (nth) => {
      if (nth === at) void Promise.resolve().then(() => reconnect(world));
    };
  }
  for (let round = 0; round < 40; round += 1) {
    for (const id of await missing(h)) void h.launch(id, { ifActive: "use-existing" }).catch(() => {});
    if (!runner.isConnected) tryToConnect(world);
    await h.settle();
    plan.endHanging();
    if (round === 1) runner.breakOff();
    await h.clock.advance(1_000);
    runner.beAlive();
    await h.settle();
    if (isDead) {
      isDead = false;
      world.deaths += 1;
      runner.breakOff();
      await h.crash();
    }
    if (!(await isOver(h))) continue;
    plan.clear();
    // The store is brought back, and the last answers are given.
    await h.clock.advance(5_000);
    if (!runner.isConnected) tryToConnect(world);
    return h.settle();
  }
  throw new Error("the tasks did not end");
}

function tryToConnect({ h, runner }: World): void {
  try {
    runner.connect(h.runners);
  } catch {
    // The store fails just now: the runner tries again.
  }
}

/** The stream breaks in the middle of what is being done, and the runner is back at once. */
function reconnect(world: World): void {
  world.runner.breakOff();
  tryToConnect(world);
}

async function missing(h: Harness): Promise<string[]> {
  const stored = await Promise.all(ids.map((id) => h.stored(id)));
  return ids.filter((_, i) => stored[i] === undefined);
}

async function isOver(h: Harness): Promise<boolean> {
  const stored = await Promise.all(ids.map((id) => h.stored(id)));
  return stored.every((task) => task?.status.state === 3);
}

/** What is wrong with what is on disk in the end. */
async function complaintsOf({ h, runner }: World): Promise<string[]> {
  const complaints: string[] = [];
  for (const id of ids) {
    const { state, transitions, rejectedWrites, result } = await h.controller.taskStatus(id);
    const { entries } = await h.controller.taskLogs(id, { pageSize: 1_000 });
    const said = entries.map(({ msg }) => msg);
    if (state !== 3) complaints.push(`${id} is not Completed`);
    if (transitions.filter((each) => each.state === 3).length !== 1) complaints.push(`${id} did not end once`);
    if (rejectedWrites !== 0n) complaints.push(`${rejectedWrites} writes of ${id} were refused`);
    if (new Set(said).size !== said.length) complaints.push(`${id} has an entry twice: ${said.join()}`);
    if (said.join() !== [...said].sort().join()) complaints.push(`${id} has entries out of order: ${said.join()}`);
    for (const written of runner.written) {
      const [task, fence, seq] = written.split(" ");
      // Of a run the first and the last are ends.
      const isEntry = task === id && Number(seq) > 1 && Number(seq) < 6;
      if (isEntry && !said.includes(`${fence} ${seq}`)) complaints.push(`${written} was answered, and is lost`);
    }
    const ended = [...runner.written].filter((each) => each.startsWith(`${id} `) && each.endsWith(" 6"));
    if (ended.length > 1) complaints.push(`${id} has ended under several fences: ${ended.join()}`);
    if (ended.length === 1 && result !== `"${ended[0]?.split(" ")[1]}"`) complaints.push(`${id} has another's result`);
  }
  if (runner.unanswered > 0) complaints.push(`${runner.unanswered} messages were not answered`);
  return [...complaints, ...runner.refused.filter((each) => / [1-9]\d* STALE_FENCE$/.test(each))];
}

test("what a remote runner was told is on disk, whatever its store does", { timeout: 600_000 }, async () => {
  const sound = await createWorld();
  const before = sound.plan.operations;
  await live(sound);
  expect(await complaintsOf(sound)).toEqual([]);
  const operations = sound.plan.operations - before;
  expect(operations).toBeGreaterThan(20);
  const seen = { faults: 0, deaths: 0 };
  for (const [nth, kind] of kinds.entries()) {
    for (let at = 1 + (nth % stride); at <= operations; at += stride) {
      const world = await createWorld();
      await live(world, { at, kind }).catch((error: unknown) => expect(String(error), `${kind} at ${at}`).toBe(""));
      expect(await complaintsOf(world), `${kind} at ${at}`).toEqual([]);
      await world.h[Symbol.asyncDispose]();
      seen.faults += world.plan.injected.length;
      seen.deaths += world.deaths;
    }
  }
  await sound.h[Symbol.asyncDispose]();
  // Without faults the test would have said nothing.
  expect(seen.faults).toBeGreaterThan((kinds.length * operations) / stride / 2);
  expect(seen.deaths).toBeGreaterThan(operations / stride / 2);
});

test("a run that a launch replaces has its end answered when the launch is on disk, and not before", async () => {
  await using h = await openRemoteHarness();
  const link = connect(h, "one");
  const offer = await runningOn(h, link, "a");
  await h.launch("a");
  h.handle.cutAtCommit(1, { applied: false });
  link.take();
  void link.end(offer, RunPhase.RUNNING);
  await h.settle();
  expect([h.handle.isCut, link.take()]).toEqual([true, []]);
  // The next process has to be told the end once more.
  await h.crash();
  const again = connect(h, "one", { held: heldOf(offer, RunPhase.RUNNING) });
  void again.end(offer, RunPhase.RUNNING, { case: "done", value: {} }, 2n);
  const next = await offerOf(h, again, "a", RunPhase.PENDING);
  expect(next.runId).not.toBe(offer.runId);
});
