/**
 * Recomputes, from the statuses in a store, every index entry, counter and record that must belong to them,
 * and compares: what is missing, what is left over, and what a status says that its records do not.
 */
import { expect } from "vitest";
import type { Controller } from "../../src/controller/controller.ts";
import { decodeLogChunk, decodePayload, decodeTask, type StoredTask } from "../../src/store/codec.ts";
import * as keys from "../../src/store/keys.ts";
import type { Entry, Store } from "../../src/store/store.ts";
import { isActive, isEnded, StatePending, stateName } from "../../src/task/state.ts";
import { timestampMs } from "../../src/task/task.ts";

export interface ConsistencyOptions {
  /** Compares its lists and counts too. */
  readonly controller?: Controller | undefined;
  /** Tasks whose records are damaged, or that were put past a controller: only their places are looked at. */
  readonly except?: readonly string[];
}

/** Fails with everything that is wrong with the tasks of `name`. */
export async function checkConsistency(store: Store, name: string, options: ConsistencyOptions = {}): Promise<void> {
  const except = new Set(options.except ?? []);
  const entries = await store.scan({ prefix: "/", limit: 10_000_000 });
  const problems: string[] = [];
  const tasks = new Map<string, StoredTask>();
  for (const entry of entries) {
    const place = keys.parseTaskKey(entry.key);
    if (place?.controller === name && !except.has(place.taskId)) tasks.set(place.taskId, decodeTask(entry.value));
  }
  for (const [taskId, task] of tasks) checkStatus(taskId, task, problems);
  const view = new View(name, entries, except);
  checkIndexes(view, tasks, problems);
  checkPayloads(view, tasks, problems);
  checkLogs(view, tasks, problems);
  checkRunLists(view, tasks, problems);
  checkRequests(view, problems);
  if (except.size === 0) checkCounts(view, tasks, problems);
  if (options.controller !== undefined && except.size === 0) {
    await checkAnswers(options.controller, tasks, problems);
  }
  expect(problems).toEqual([]);
}

/** The entries of one controller. */
class View {
  readonly name: string;
  readonly #entries: readonly Entry[];
  readonly #except: ReadonlySet<string>;

  constructor(name: string, entries: readonly Entry[], except: ReadonlySet<string>) {
    this.name = name;
    this.#entries = entries;
    this.#except = except;
  }

  under(prefix: string): Entry[] {
    return this.#entries.filter(
      (entry) => entry.key.startsWith(prefix) && !entry.key.split("/").some((part) => this.#except.has(part)),
    );
  }

  keysUnder(prefix: string): string[] {
    return this.under(prefix).map((entry) => entry.key);
  }
}

function checkStatus(taskId: string, { status, record }: StoredTask, problems: string[]): void {
  const complain = (what: string): void => {
    problems.push(`${taskId}: ${what}`);
  };
  const last = status.transitions.at(-1);
  if (last?.state !== status.state) complain(`is ${stateName(status.state)}, its last transition not`);
  if (status.transitions.length > 256) complain("has more than 256 transitions");
  if (status.runId === "" || status.attempt === 0) complain("has no run or no attempt");
  if (record.generation === "") complain("has no generation");
  if (status.createTime === undefined || status.updateTime === undefined) complain("lacks a time");
  if ((status.endTime !== undefined) !== isEnded(status.state)) complain("has an end time, or lacks it");
  if ((status.error !== undefined) !== (stateName(status.state) === "Failed")) complain("has an error, or lacks it");
  if (status.result !== undefined && stateName(status.state) !== "Completed") complain("has a result");
  if (status.logs.length > 0) complain("has log entries in its status");
}

function checkIndexes(view: View, tasks: ReadonlyMap<string, StoredTask>, problems: string[]): void {
  const wanted = new Set<string>();
  for (const [taskId, { status }] of tasks) {
    wanted.add(keys.newestKey(view.name, timestampMs(status.createTime), taskId));
    wanted.add(keys.stateKey(view.name, status.state, taskId));
    if (isEnded(status.state)) wanted.add(keys.endedKey(view.name, timestampMs(status.endTime), taskId));
    for (const [name, value] of Object.entries(status.labels)) {
      wanted.add(keys.labelKey(view.name, name, value, taskId));
    }
  }
  const found = ["newest", "state", "ended", "label"].flatMap((index) =>
    view.keysUnder(`/index/${index}/${view.name}/`),
  );
  compare("index", wanted, found, problems);
}

function checkPayloads(view: View, tasks: ReadonlyMap<string, StoredTask>, problems: string[]): void {
  const wanted = new Set<string>();
  const payloads = view.under(`/payloads/${view.name}/`);
  for (const [taskId, { status, record }] of tasks) {
    for (const payload of ["metadata", "result"] as const) {
      const bytes = payload === "metadata" ? record.metadataBytes : record.resultBytes;
      if (bytes === 0) continue;
      const key = keys.payloadKey(view.name, taskId, payload);
      wanted.add(key);
      const entry = payloads.find((each) => each.key === key);
      if (entry !== undefined && entry.value.length !== bytes) problems.push(`${key} has not ${bytes} bytes`);
      if (entry !== undefined) JSON.parse(decodePayload(entry.value));
      if (status[payload]) problems.push(`${taskId}: its ${payload} is in two places`);
    }
  }
  const found = payloads.map((entry) => entry.key);
  compare("payload", wanted, found, problems);
}

/** The kept entries are there, contiguous; other chunks are only there while an entry says that they go. */
function checkLogs(view: View, tasks: ReadonlyMap<string, StoredTask>, problems: string[]): void {
  const trash = view.keysUnder(`/trash/${view.name}/`).map(keys.parseTrashKey);
  const chunks = new Map<string, Entry[]>();
  for (const chunk of view.under(`/logs/${view.name}/`)) {
    const [, , , taskId = "", generation = ""] = chunk.key.split("/");
    const task = tasks.get(taskId);
    const isKept = task?.record.generation === generation && keys.logKeySeq(chunk.key) >= firstSeq(task);
    const isTrash = trash.some(
      (each) => each.taskId === taskId && each.generation === generation && keys.logKeySeq(chunk.key) <= each.upToSeq,
    );
    if (isKept) chunks.set(taskId, [...(chunks.get(taskId) ?? []), chunk]);
    else if (!isTrash) problems.push(`the log chunk ${chunk.key} belongs to nobody`);
  }
  for (const [taskId, task] of tasks) {
    const first = firstSeq(task);
    const entries = (chunks.get(taskId) ?? [])
      .flatMap((chunk) => decodeLogChunk(chunk.value))
      .filter((entry) => entry.seq >= first);
    const wanted = Array.from({ length: Number(task.record.logLastSeq - first + 1n) }, (_, i) => first + BigInt(i));
    if (entries.map((entry) => entry.seq).join() !== wanted.join()) {
      problems.push(`${taskId}: has log entries ${entries.map((e) => e.seq).join()} and not ${wanted.join()}`);
    }
    const bytes = entries.reduce((sum, entry) => sum + Buffer.byteLength(entry.msg), 0);
    if (BigInt(bytes) !== task.record.logBytes)
      problems.push(`${taskId}: log bytes ${task.record.logBytes}, not ${bytes}`);
  }
}

function firstSeq({ status, record }: StoredTask): bigint {
  return record.logLastSeq - (status.logCount - status.logsDropped) + 1n;
}

/** Every active task is where an opening finds it, in one place; nothing is there for others. */
function checkRunLists(view: View, tasks: ReadonlyMap<string, StoredTask>, problems: string[]): void {
  const places = new Map<string, string[]>();
  const at = (taskId: string, place: string): void => {
    places.set(taskId, [...(places.get(taskId) ?? []), place]);
  };
  for (const key of view.keysUnder(`/waiting/${view.name}/`)) {
    const { taskId, queueNumber } = keys.parseWaitingKey(key);
    at(taskId, "waiting");
    const task = tasks.get(taskId);
    if (task?.status.state !== StatePending || task.record.queueNumber !== queueNumber) {
      problems.push(`${key} is not of a Pending task`);
    }
  }
  for (const list of ["leases", "released"] as const) {
    for (const key of view.keysUnder(keys.listPrefix(list, view.name))) {
      const taskId = keys.listedTaskId(key);
      at(taskId, list);
      const status = tasks.get(taskId)?.status;
      const isCurrent = status !== undefined && key.endsWith(`/${status.runId}/${status.attempt}`);
      if (!isCurrent || !isActive(status.state)) problems.push(`${key} is not of a task's current attempt`);
    }
  }
  for (const [taskId, { status }] of tasks) {
    const found = places.get(taskId) ?? [];
    if (found.length !== (isActive(status.state) ? 1 : 0)) {
      problems.push(`${taskId} is ${stateName(status.state)} and in ${found.join() || "no list"}`);
    }
  }
  for (const key of view.keysUnder(keys.listPrefix("deliveries", view.name))) {
    const status = tasks.get(keys.listedTaskId(key))?.status;
    if (status === undefined || !isEnded(status.state) || !key.endsWith(`/${status.runId}`)) {
      problems.push(`${key} is not of a task's end`);
    }
  }
  const intents = view.keysUnder(keys.listPrefix("intents", view.name)).map(keys.listedTaskId);
  if (new Set(intents).size !== intents.length)
    problems.push(`more than one stored launch of a task: ${intents.join()}`);
  for (const taskId of intents)
    if (!tasks.has(taskId)) problems.push(`a stored launch of ${taskId}, which is not there`);
}

function checkRequests(view: View, problems: string[]): void {
  const byTime = view
    .keysUnder(keys.requestTimePrefix(view.name))
    .map((key) => keys.parseRequestTimeKey(key).requestKey);
  compare("request", new Set(byTime), view.keysUnder(`/requests/${view.name}/`), problems);
}

function checkCounts(view: View, tasks: ReadonlyMap<string, StoredTask>, problems: string[]): void {
  const counts = countStates(tasks);
  for (const counter of view.under(keys.countPrefix(view.name))) {
    const state = keys.parseCountKey(counter.key);
    const count = Buffer.from(counter.value).readBigInt64BE();
    if (count !== (counts.get(state) ?? 0n)) {
      problems.push(`the counter of ${stateName(state)} is ${count}, and there are ${counts.get(state) ?? 0n}`);
    }
    counts.delete(state);
  }
  for (const [state, count] of counts) problems.push(`${count} tasks are ${stateName(state)}, and no counter says so`);
}

/** What the controller answers is what is on disk. */
async function checkAnswers(
  controller: Controller,
  tasks: ReadonlyMap<string, StoredTask>,
  problems: string[],
): Promise<void> {
  const counts = await controller.countTasks();
  const sorted = (map: ReadonlyMap<number, bigint>): string => [...map].sort(([a], [b]) => a - b).join(" ");
  if (sorted(counts) !== sorted(countStates(tasks))) problems.push(`countTasks says ${sorted(counts)}`);
  const ids = await controller.listTasks();
  if (ids.join() !== [...tasks.keys()].join()) problems.push(`listTasks says ${ids.join()}`);
}

function countStates(tasks: ReadonlyMap<string, StoredTask>): Map<number, bigint> {
  const counts = new Map<number, bigint>();
  for (const { status } of tasks.values()) counts.set(status.state, (counts.get(status.state) ?? 0n) + 1n);
  return counts;
}

function compare(what: string, wanted: ReadonlySet<string>, found: readonly string[], problems: string[]): void {
  const have = new Set(found);
  for (const key of wanted) if (!have.has(key)) problems.push(`the ${what} entry ${key} is missing`);
  for (const key of found) if (!wanted.has(key)) problems.push(`the ${what} entry ${key} is left over`);
}
