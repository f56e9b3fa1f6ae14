/** What must be true of a world's store, whatever failed on the way there. */
import type { LogEntry } from "#gen/core/v1/core_pb.js";
import { decodeLogChunk, decodeTask } from "../../src/store/codec.ts";
import * as keys from "../../src/store/keys.ts";
import type { Store, StoreEvent } from "../../src/store/store.ts";
import {
  isEnded,
  StateCanceled,
  StateCompleted,
  StateFailed,
  stateName,
  StatePending,
  StateRunning,
} from "../../src/task/state.ts";
import { firstLogSeq, timestampMs } from "../../src/task/task.ts";
import { historyComplaints, type Version } from "../support/task-history.ts";
import { controllerName } from "./faults-process.ts";
import type { World } from "./faults-world.ts";

/** All complaints about a world that has come to rest: no run is alive but for those that wait. */
export async function complaintsOf(world: World): Promise<string[]> {
  await world.settled();
  const store = world.inner;
  const histories = await readHistories(store);
  return [
    ...world.broken,
    ...(await indexComplaints(store)),
    ...(await logComplaints(store, world, histories)),
    ...[...histories].flatMap(([taskId, versions]) => historyComplaints(taskId, versions)),
    ...launchComplaints(world, histories),
    ...deliveryComplaints(world, histories),
    ...followComplaints(world, histories),
    ...(await storeFollowComplaints(world)),
  ];
}

/** Every version of every task, oldest first; undefined is a deletion. */
async function readHistories(store: Store): Promise<Map<string, Array<Version | undefined>>> {
  const histories = new Map<string, Array<Version | undefined>>();
  if (store.revision() === 0n) return histories;
  for (const event of await eventsOf(store)) {
    const taskId = keys.parseTaskKey(event.key)?.taskId ?? "";
    const versions = histories.get(taskId) ?? [];
    histories.set(taskId, versions);
    versions.push(event.type === "delete" ? undefined : { ...decodeTask(event.value), revision: event.revision });
  }
  return histories;
}

async function eventsOf(store: Store): Promise<StoreEvent[]> {
  const marker = await store.commit([{ type: "put", key: keys.taskKey("marker", "m"), value: new Uint8Array(0) }]);
  const events: StoreEvent[] = [];
  for await (const page of store.watch({ prefix: "/tasks/", after: 0n })) {
    events.push(...page.filter(({ key }) => key.startsWith(keys.taskKey(controllerName, ""))));
    if (page.some(({ revision }) => revision === marker)) break;
  }
  return events;
}

const indexRoots = [
  "/index/",
  "/waiting/",
  "/leases/",
  "/released/",
  "/intents/",
  "/deliveries/",
  "/trash/",
  "/counts/",
];

/** The index entries and counters are exactly those that the statuses ask for. */
async function indexComplaints(store: Store): Promise<string[]> {
  const expected = new Set<string>();
  const counts = new Map<string, bigint>();
  const tasks = await store.scan({ prefix: keys.taskKey(controllerName, ""), limit: 100_000 });
  for (const entry of tasks) {
    const taskId = keys.parseTaskKey(entry.key)?.taskId ?? "";
    const { status, record } = decodeTask(entry.value);
    expected.add(keys.newestKey(controllerName, timestampMs(status.createTime), taskId));
    expected.add(keys.stateKey(controllerName, status.state, taskId));
    for (const [name, value] of Object.entries(status.labels))
      expected.add(keys.labelKey(controllerName, name, value, taskId));
    if (isEnded(status.state)) expected.add(keys.endedKey(controllerName, timestampMs(status.endTime), taskId));
    if (status.state === StatePending) expected.add(keys.waitingKey(controllerName, record.queueNumber, taskId));
    const count = keys.countKey(controllerName, status.state);
    counts.set(count, (counts.get(count) ?? 0n) + 1n);
  }
  const complaints: string[] = [];
  for (const root of indexRoots) {
    for (const { key, value } of await store.scan({ prefix: root, limit: 100_000 })) {
      if (root !== "/counts/") {
        if (!expected.delete(key)) complaints.push(`${key} is left over`);
        continue;
      }
      const count = Buffer.from(value).readBigInt64BE();
      if (count !== (counts.get(key) ?? 0n))
        complaints.push(`${key} is ${count}, and there are ${counts.get(key) ?? 0n}`);
      counts.delete(key);
    }
  }
  complaints.push(
    ...[...expected].map((key) => `${key} is missing`),
    ...[...counts.keys()].map((key) => `${key} is missing`),
  );
  complaints.push(...(await requestComplaints(store)), ...(await payloadComplaints(store)));
  return complaints;
}

async function requestComplaints(store: Store): Promise<string[]> {
  const requests = new Set((await store.scan({ prefix: "/requests/", limit: 100_000 })).map(({ key }) => key));
  const complaints: string[] = [];
  for (const { key } of await store.scan({ prefix: "/requests-by-time/", limit: 100_000 })) {
    if (!requests.delete(keys.parseRequestTimeKey(key).requestKey)) complaints.push(`${key} leads nowhere`);
  }
  return [...complaints, ...[...requests].map((key) => `${key} is never forgotten`)];
}

async function payloadComplaints(store: Store): Promise<string[]> {
  const complaints: string[] = [];
  for (const { key, value } of await store.scan({ prefix: "/payloads/", limit: 100_000 })) {
    const [, , , taskId = "", payload = ""] = key.split("/");
    const entry = await store.get(keys.taskKey(controllerName, taskId));
    const record = entry && decodeTask(entry.value).record;
    const bytes = payload === "metadata" ? record?.metadataBytes : record?.resultBytes;
    if (bytes !== value.length) complaints.push(`${key} has ${value.length} bytes, and its task says ${bytes}`);
  }
  return complaints;
}

/** Log entries are contiguous, and those that were acknowledged are there once. */
async function logComplaints(
  store: Store,
  world: World,
  histories: Map<string, Array<Version | undefined>>,
): Promise<string[]> {
  const complaints: string[] = [];
  const chunks = await store.scan({ prefix: `/logs/${controllerName}/`, limit: 100_000 });
  const logs = new Map<string, LogEntry[]>();
  for (const { key, value } of chunks) {
    const [, , , taskId = "", generation = ""] = key.split("/");
    const name = `${taskId}/${generation}`;
    logs.set(name, [...(logs.get(name) ?? []), ...decodeLogChunk(value)]);
  }
  for (const [taskId, versions] of histories) {
    const task = versions.at(-1);
    if (task === undefined) continue;
    const name = `${taskId}/${task.record.generation}`;
    const entries = logs.get(name) ?? [];
    logs.delete(name);
    const seqs = entries.map(({ seq }) => seq).join();
    const first = firstLogSeq(task);
    const expected = Array.from(
      { length: Number(task.record.logLastSeq - first) + 1 },
      (_, i) => first + BigInt(i),
    ).join();
    if (seqs !== expected) complaints.push(`${taskId}: log entries ${seqs}, and the task says ${expected}`);
    const kept = runsOfTheLog(versions);
    for (const { runId, msg } of world.acknowledged.logs.filter((each) => each.taskId === taskId)) {
      const times = entries.filter((entry) => entry.msg === msg).length;
      if (kept.has(runId) ? times !== 1 : times > 0)
        complaints.push(`${taskId}: the entry "${msg}" is there ${times} times`);
    }
  }
  return [...complaints, ...[...logs.keys()].map((name) => `the log of ${name} belongs to no task`)];
}

/** The runs whose entries the task's log still has. */
function runsOfTheLog(versions: ReadonlyArray<Version | undefined>): Set<string> {
  let runs = new Set<string>();
  let before: Version | undefined;
  for (const version of versions) {
    const isNewRun = before?.status.runId !== version?.status.runId;
    const keeps = before?.status.state === StateRunning || before?.status.state === StateFailed;
    if (isNewRun && !keeps) runs = new Set();
    if (version !== undefined) runs.add(version.status.runId);
    before = version;
  }
  return runs;
}

/** What was acknowledged as launched has been, unless a newer launch or a cancel took its place. */
function launchComplaints(world: World, histories: Map<string, Array<Version | undefined>>): string[] {
  const { launches, deleted } = world.acknowledged;
  const complaints: string[] = [];
  for (const taskId of new Set(launches.map((launch) => launch.taskId))) {
    if (deleted.has(taskId)) continue;
    const versions = histories.get(taskId) ?? [];
    const task = versions.at(-1);
    const last = launches.filter((launch) => launch.taskId === taskId).at(-1);
    const wasCanceled = versions.some((version) => version?.status.state === StateCanceled);
    if (task === undefined) complaints.push(`the launch of ${taskId} is lost`);
    else if (task.status.runId !== last?.runId && !wasCanceled)
      complaints.push(`${taskId}: run ${last?.runId} was acknowledged, and is ${task.status.runId}`);
  }
  return complaints;
}

/** The runner was told of each end, and of nothing else. */
function deliveryComplaints(world: World, histories: Map<string, Array<Version | undefined>>): string[] {
  const ends = new Set<string>();
  for (const [taskId, versions] of histories) {
    for (const version of versions) {
      const state = version?.status.state;
      if (state === StateCompleted || state === StateFailed || state === StateCanceled)
        ends.add(`${taskId} ${version?.status.runId} ${stateName(state)}`);
    }
  }
  const told = new Set(world.told.map(({ taskId, runId, state }) => `${taskId} ${runId} ${state}`));
  return [
    ...[...ends].filter((end) => !told.has(end)).map((end) => `the runner was not told of ${end}`),
    ...[...told].filter((end) => !ends.has(end)).map((end) => `the runner was told of ${end}, which is not on disk`),
  ];
}

/** Each follower saw every transition from the first on, once and in order, up to the first end; and each log entry once. */
function followComplaints(world: World, histories: Map<string, Array<Version | undefined>>): string[] {
  return world.follows.flatMap(({ taskId, changes, logs }) => {
    const made = (histories.get(taskId) ?? []).filter((version) => version?.record.isTransition) as Version[];
    const end = made.findIndex(({ status }) => isEnded(status.state));
    const expected = made.slice(0, end + 1).map(({ revision }) => revision);
    const transitions = new Set(made.map(({ revision }) => revision));
    const seen = changes.map(({ revision }) => revision).filter((revision) => transitions.has(revision));
    // A follower that came after the launch begins with the status as it was then.
    const first = changes[0]?.revision ?? 0n;
    const due = expected.filter((revision) => revision >= first);
    const complaints: string[] = [];
    if (seen.join() !== due.join())
      complaints.push(`a follower of ${taskId} saw the transitions ${seen.join()}, not ${due.join()}`);
    const seqs = logs.map(({ seq }) => Number(seq));
    if (seqs.some((seq, i) => i > 0 && seq !== (seqs[i - 1] ?? 0) + 1))
      complaints.push(`a follower of ${taskId} saw the entries ${seqs.join()}`);
    return complaints;
  });
}

/** Each watch of the store saw every change up to its last, once and in order. */
async function storeFollowComplaints(world: World): Promise<string[]> {
  if (world.storeFollows.length === 0) return [];
  const events = await eventsOf(world.inner);
  return world.storeFollows.flatMap(({ seen }) => {
    const last = seen.at(-1)?.revision ?? 0n;
    const lineOf = ({ key, revision }: { key: string; revision: bigint }): string => `${key} at ${revision}`;
    const due = events.filter(({ revision }) => revision <= last).map(lineOf);
    const isWhole = due.length > 0 && due.join() === seen.map(lineOf).join();
    return isWhole ? [] : [`a watch of the store saw ${seen.map(lineOf).join()}, and there is ${due.join()}`];
  });
}
