/** Each kind of fault is provoked here, and has to leave its trace: its count, and a line in the log that names it. */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { connect as connectHttp2 } from "node:http2";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import type { Clock } from "../src/clock.ts";
import { createStoreGuard } from "../src/controller/store-guard.ts";
import { type FaultKind, faultKinds, Faults } from "../src/faults.ts";
import type { Log } from "../src/log.ts";
import { systemRandom } from "../src/random.ts";
import { openDiskReserve } from "../src/server/disk-reserve.ts";
import type { Limits } from "../src/server/limits.ts";
import { watchLoop } from "../src/server/loop-watch.ts";
import { createStrayErrors } from "../src/server/stray-errors.ts";
import { loadTlsPair, watchTlsPair } from "../src/server/tls-files.ts";
import { leaseKey, taskKey } from "../src/store/keys.ts";
import { openLevelStore } from "../src/store/level-store.ts";
import { openMemoryStore } from "../src/store/memory.ts";
import type { Change, Store } from "../src/store/store.ts";
import { StateRunning } from "../src/task/state.ts";
import { crashCopy, makeScratch } from "./store/level-fixture.ts";
import { controllerName, openHarness } from "./support/controller-harness.ts";
import { eventually } from "./support/eventually.ts";
import { createFakeClock } from "./support/fake-clock.ts";
import { frame, FrameSocket, frameType } from "./support/raw-frames.ts";
import { grpcHeaders, requestOn } from "./support/raw-http.ts";
import { refusingCommits } from "./support/refusing-store.ts";
import { connect, leaseMs, openRemoteHarness, passAlive, runningOn } from "./support/remote-harness.ts";
import { type ServedFake, serveFake } from "./support/served-fake.ts";
import { TasksWatching } from "./support/watching.ts";

/** What is left of a fault. */
interface Trace {
  readonly faults: Faults;
  readonly logged: readonly { readonly fields: object }[];
}

/** Faults whose lines are kept. */
function traced(clock: Clock = createFakeClock()): Trace & { log: Log; clock: Clock } {
  const logged: { fields: object }[] = [];
  const say = (fields: object): void => void logged.push({ fields });
  const log: Log = { debug: say, info: say, warn: say, error: say };
  return { faults: new Faults({ clock, log }), logged, log, clock };
}

async function failStore(): Promise<Trace> {
  const trace = traced();
  const guard = createStoreGuard({ store: await openMemoryStore(), random: systemRandom, ...trace });
  await guard.recover(new Error("the disk fails"));
  guard.close();
  return trace;
}

/** A store whose values lie in tables, with a bit of them changed. */
async function damageFile(): Promise<Trace> {
  const trace = traced();
  await using scratch = await makeScratch();
  const options = { clock: createFakeClock(), writeBufferBytes: 1 << 16, roundKeys: 50 };
  const store = await openLevelStore(scratch.path, options);
  for (let i = 0; i < 200; i += 1) {
    await store.commit([{ type: "put", key: `key ${i}`, value: Buffer.from(`${"text ".repeat(60)}${i * 7_919}`) }]);
  }
  await store.close();
  for (let flip = 0; flip < 100 && trace.faults.counts().files_damaged === 0; flip += 1) {
    await using copy = await crashCopy(scratch.path);
    const tables = (await readdir(join(copy.path, "db"))).filter((name) => name.endsWith(".ldb"));
    const path = join(copy.path, "db", tables[flip % tables.length] ?? "");
    const content = await readFile(path);
    content[Math.floor(((flip * 0.618_034) % 1) * content.length)]! ^= 1;
    await writeFile(path, content);
    const opened = await openLevelStore(copy.path, { ...options, ...trace }).catch(() => undefined);
    await opened?.close();
  }
  return trace;
}

/** A store as a power cut leaves it, whose log has something else at its end. */
async function tearLog(): Promise<Trace> {
  const trace = traced();
  await using scratch = await makeScratch();
  const store = await openLevelStore(scratch.path, { clock: createFakeClock() });
  for (const key of ["a", "b"]) await store.commit([{ type: "put", key, value: Buffer.alloc(100) }]);
  await using torn = await crashCopy(scratch.path);
  await store.close();
  const logName = (await readdir(join(torn.path, "db"))).find((name) => name.endsWith(".log")) ?? "";
  const path = join(torn.path, "db", logName);
  const bytes = await readFile(path);
  bytes.fill(0xff, bytes.byteLength - 10);
  await writeFile(path, bytes);
  await (await openLevelStore(torn.path, trace as { faults: Faults })).close();
  return trace;
}

async function fillDisk(): Promise<Trace> {
  const trace = traced();
  const limits = { diskReserveBytes: 100, diskReservePercent: 1 };
  const statfs = async () => ({ bsize: 1, blocks: 1_000, bavail: 99 });
  (await openDiskReserve({ directory: "/store", limits, ...trace, statfs })).close();
  return trace;
}

async function damageTask(): Promise<Trace> {
  await using h = await openHarness();
  await h.launch("a");
  (await h.runner.phase("a")).return();
  await h.settle();
  await h.disk.commit([{ type: "put", key: taskKey(controllerName, "a"), value: Buffer.from("no task") }]);
  await h.controller.taskStatus("a").catch(() => {});
  await h.controller.deleteTask("a");
  return h;
}

async function damageHistory(): Promise<Trace> {
  await using h = await openHarness();
  await h.launch("a");
  const sinceRevision = h.disk.revision();
  const key = taskKey(controllerName, "a");
  const whole = await h.disk.get(key);
  for (const value of [Buffer.from("no task"), whole?.value as Uint8Array]) {
    await h.disk.commit([{ type: "put", key, value }]);
  }
  const watching = new TasksWatching(h.controller.watchTasks({ sinceRevision }));
  await h.settle();
  expect(watching.take()).toContain("bookmark");
  return h;
}

/** The process dies in so many attempts of a task. */
async function die(times: number): Promise<Trace> {
  await using h = await openHarness();
  await h.launch("a");
  for (let i = 0; i < times; i += 1) {
    await h.runner.phase("a");
    await h.crash();
  }
  await h.settle();
  return h;
}

/** A runner that says nothing for longer than its lease, and then says something of a task that is another's. */
async function pauseRunner(): Promise<Trace> {
  await using h = await openRemoteHarness();
  const link = connect(h, "one");
  const offer = await runningOn(h, link, "a");
  await passAlive(h, leaseMs * 1.2, connect(h, "two"));
  await link.write(offer, { current: 1 });
  return h;
}

async function voidFence(): Promise<Trace> {
  await using h = await openHarness();
  await h.launch("a");
  const { task, context } = await h.runner.phase("a");
  await h.disk.commit([{ type: "unindex", key: leaseKey(controllerName, "a", context.runId, context.attempt) }]);
  await task.setProgress({ current: 1 }).catch(() => {});
  await h.disk.commit([
    { type: "index", key: leaseKey(controllerName, "a", context.runId, 1), value: new Uint8Array() },
  ]);
  return h;
}

async function takeTooLong(): Promise<Trace> {
  await using h = await openHarness({ runningTimeoutMs: 1_000 });
  await h.launch("a");
  const phase = await h.runner.phase("a");
  await h.clock.advance(1_000);
  phase.stop();
  await h.settle();
  return h;
}

async function failToHearOfEnd(): Promise<Trace> {
  await using h = await openHarness();
  h.runner.scripts.completed = () => {
    throw new Error("no");
  };
  await h.launch("a");
  (await h.runner.phase("a")).return();
  await h.settle();
  return h;
}

async function failToOffer(): Promise<Trace> {
  let isRefused = false;
  const wrap = (store: Store): Store => refusingCommits(store, (changes) => isRefused && changes.some(isOffer));
  const isOffer = ({ type, key }: Change): boolean => type === "index" && key.startsWith("/leases/");
  await using h = await openHarness({ wrap, concurrency: 1 });
  await h.launch("a");
  await h.launch("b");
  isRefused = true;
  (await h.runner.phase("a")).return();
  await h.settle();
  isRefused = false;
  return h;
}

function stall(): Trace {
  let fire = (): void => {};
  let nowMs = 0;
  const after: Clock["after"] = (_, look) => {
    fire = look;
    return () => {};
  };
  const trace = traced({ mono: () => nowMs, wall: () => nowMs, after });
  let isServing = false;
  watchLoop({ ...trace, isServing: () => isServing });
  nowMs += 10_000;
  isServing = true;
  fire();
  expect(trace.faults.counts().loop_stalls, "of a start").toBe(0);
  nowMs += 250 + 249;
  fire();
  expect(trace.faults.counts().loop_stalls).toBe(0);
  nowMs += 250 + 250;
  fire();
  return trace;
}

function stray(): Trace {
  const trace = traced();
  createStrayErrors(trace.faults, trace.log).rejected(new Error("floating"));
  return trace;
}

async function renewBadly(): Promise<Trace> {
  const clock = createFakeClock();
  const trace = traced(clock);
  const tls = (name: string): string => fileURLToPath(new URL(`support/tls/${name}`, import.meta.url));
  const pair = await loadTlsPair({ cert: tls("server.pem"), key: tls("server.key") });
  const end = watchTlsPair({ cert: tls("server.pem"), key: "/nowhere" }, pair, { ...trace, renew: () => {} });
  await clock.advance(5_000);
  await eventually(() => expect(trace.logged).not.toEqual([]));
  end();
  return trace;
}

/** A server, and what somebody does to it. */
async function serving(limits: Partial<Limits>, act: (served: ServedFake) => unknown, kind: FaultKind): Promise<Trace> {
  await using served = await serveFake({ limits });
  await act(served);
  await eventually(() => expect(served.faults.counts()[kind]).toBeGreaterThan(0));
  return served;
}

const task = { controller: "countdown", taskId: "a" };

async function callFailing({ controller, client }: ServedFake): Promise<void> {
  controller.failure = new Error("a bug");
  await client()
    .getTaskStatus(task)
    .catch(() => {});
}

async function watchTwice({ controller, client }: ServedFake): Promise<void> {
  controller.put("a", { state: StateRunning });
  const watches = [1, 2].map(() => client().watchTask(task)[Symbol.asyncIterator]());
  for (const watch of watches) await watch.next().catch(() => {});
}

/** Without a window nothing but headers can be sent to it. */
async function callWithoutReading({ baseUrl }: ServedFake): Promise<void> {
  const session = connectHttp2(baseUrl, { settings: { initialWindowSize: 0 } });
  session.on("error", () => {});
  await requestOn(session, grpcHeaders);
  session.destroy();
}

/** Speaks HTTP/2, and answers nothing. */
async function beSilent({ port }: ServedFake): Promise<void> {
  const peer = new FrameSocket(port);
  await peer.send(frame(frameType.settings, 0, 0));
  await peer.closed;
}

function connectTwice({ port }: ServedFake): void {
  for (const _ of [1, 2]) new FrameSocket(port);
}

/** Nobody waits for the answers: it is cut off before. */
function callTooOften({ client }: ServedFake): void {
  const caller = client();
  void Promise.allSettled(Array.from({ length: 15 }, () => caller.getServerInfo({})));
}

const provoking: { readonly [K in FaultKind]: () => Trace | Promise<Trace> } = {
  storage_errors: failStore,
  store_reopens: failStore,
  files_damaged: damageFile,
  log_tails_cut: tearLog,
  tasks_quarantined: damageTask,
  changes_left_out: damageHistory,
  disk_reserves_reached: fillDisk,
  runs_interrupted: () => die(1),
  crash_loops: () => die(3),
  leases_expired: pauseRunner,
  fences_lost: voidFence,
  stale_writes_refused: pauseRunner,
  phases_timed_out: takeTooLong,
  completions_failed: failToHearOfEnd,
  background_errors: failToOffer,
  calls_refused: () => serving({ watchersMax: 1 }, watchTwice, "calls_refused"),
  internal_errors: () => serving({}, callFailing, "internal_errors"),
  watchers_dropped: () => serving({ writeStallMaxMs: 50 }, callWithoutReading, "watchers_dropped"),
  peers_lost: () => serving({ pingIntervalMs: 20, pingTimeoutMs: 20 }, beSilent, "peers_lost"),
  connections_refused: () => serving({ sessionsPerIpMax: 1 }, connectTwice, "connections_refused"),
  floods_cut_off: () => serving({ streamOpensPerSecondMax: 1 }, callTooOften, "floods_cut_off"),
  loop_stalls: stall,
  stray_errors: stray,
  renewals_failed: renewBadly,
};

describe("each kind of fault leaves a trace", () => {
  test.each(faultKinds)("%s: a count, and a line in the log that names it", async (kind) => {
    const { faults, logged } = await provoking[kind]();
    expect(faults.counts()[kind]).toBeGreaterThan(0);
    expect(logged.map(({ fields }) => fields)).toContainEqual(expect.objectContaining({ fault: kind, count: 1 }));
  });

  test("and docs/operating.md says what each means", async () => {
    const page = await readFile(new URL("../docs/operating.md", import.meta.url), "utf8");
    expect([...page.matchAll(/^\| `(\w+)` \|/gm)].map(([, name = ""]) => name).filter(isKind)).toEqual(faultKinds);
  });
});

function isKind(name: string): name is FaultKind {
  return (faultKinds as readonly string[]).includes(name);
}

test("all kinds are counted from 0 on, and what others bring about as often as they like has few lines", async () => {
  const clock = createFakeClock();
  const { faults, logged } = traced(clock);
  expect(Object.keys(faults.counts())).toEqual(faultKinds);
  expect(new Set(Object.values(faults.counts()))).toEqual(new Set([0]));
  for (let i = 0; i < 1_000; i += 1) faults.note("calls_refused", { limit: "waiting_max" }, "refused");
  expect(logged).toHaveLength(10);
  await clock.advance(10_000);
  faults.note("calls_refused", { limit: "waiting_max" }, "refused");
  expect(logged.at(-1)?.fields).toEqual({ limit: "waiting_max", fault: "calls_refused", count: 1_001 });
  for (let i = 0; i < 100; i += 1) faults.note("tasks_quarantined", { taskId: `t${i}` }, "damaged");
  expect(logged).toHaveLength(111);
  expect(faults.counts()).toMatchObject({ calls_refused: 1_001, tasks_quarantined: 100, crash_loops: 0 });
});

test.each<FaultKind>(["phases_timed_out", "completions_failed"])(
  "%s, which comes as often as somebody launches, has few lines, and every time is counted",
  async (kind) => {
    const clock = createFakeClock();
    const { faults, logged } = traced(clock);
    for (let i = 0; i < 1_000; i += 1) faults.note(kind, { taskId: `t${i}` }, "so it was");
    await clock.advance(10_000);
    faults.note(kind, { taskId: "t" }, "so it was");
    expect(logged).toHaveLength(11);
    expect(logged.at(-1)?.fields).toEqual({ taskId: "t", fault: kind, count: 1_001 });
  },
);
