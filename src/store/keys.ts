/**
 * Every key of the store is built and parsed here. Controllers and task ids have
 * no "/" (src/task/ids.ts), so the parts of a key cannot run into each other; what may hold
 * any character is percent-encoded.
 */

const numberDigits = 20;
// Up to the year 33658, and exact in a number.
const timeDigits = 15;
const timeMax = 10 ** timeDigits - 1;

/** The statuses of all controllers. */
export const tasksPrefix = "/tasks/";

/** The statuses: versioned. The value is core.v1.TaskStatus, followed by stint.store.v1.TaskRecord. */
export function taskKey(controller: string, taskId: string): string {
  return `${tasksPrefix}${controller}/${taskId}`;
}

/** The controller and task id of a task's key; undefined for any other key. */
export function parseTaskKey(key: string): { controller: string; taskId: string } | undefined {
  const parts = key.split("/");
  const [root, tasks, controller, taskId] = parts;
  if (parts.length !== 4 || root !== "" || tasks !== "tasks" || !controller || !taskId) return undefined;
  return { controller, taskId };
}

/** All payloads. */
export const payloadsRoot = "/payloads/";

/** Metadata and results that are too large for the status: versioned. */
export function payloadKey(controller: string, taskId: string, payload: "metadata" | "result"): string {
  return payloadsPrefix(controller, taskId) + payload;
}

/** The payloads of a task. */
export function payloadsPrefix(controller: string, taskId: string): string {
  return `${payloadsRoot}${controller}/${taskId}/`;
}

/** A chunk of log entries, named by its last: index entries. */
export function logKey(controller: string, taskId: string, generation: string, lastSeq: bigint): string {
  return logPrefix(controller, taskId, generation) + digits(lastSeq);
}

export function logPrefix(controller: string, taskId: string, generation: string): string {
  return `${logsPrefix(controller, taskId)}${generation}/`;
}

/** The log chunks of all generations of a task. */
export function logsPrefix(controller: string, taskId: string): string {
  return `/logs/${controller}/${taskId}/`;
}

/** The last seq of a chunk, from its key. */
export function logKeySeq(key: string): bigint {
  return numberIn(key.slice(-numberDigits));
}

/** Log chunks, up to a seq, of a generation of a task that are no longer wanted. */
export function trashKey(controller: string, taskId: string, generation: string, upToSeq: bigint): string {
  return `/trash/${controller}/${taskId}/${generation}/${digits(upToSeq)}`;
}

export function parseTrashKey(key: string): { taskId: string; generation: string; upToSeq: bigint } {
  const [, , , taskId = "", generation = "", seq = "0"] = key.split("/");
  return { taskId, generation, upToSeq: numberIn(seq) };
}

/** The kinds of index entries that name one task each, by the controller and then what they are for. */
export type TaskListName = "waiting" | "leases" | "released" | "intents" | "deliveries" | "trash";

/** The prefix of all entries of a kind. */
export function listPrefix(list: TaskListName, controller: string): string {
  return `/${list}/${controller}/`;
}

/** The prefix of a task's entries of a kind whose keys begin with the task. */
export function taskListPrefix(list: Exclude<TaskListName, "waiting">, controller: string, taskId: string): string {
  return `${listPrefix(list, controller)}${taskId}/`;
}

/** A Pending run that no runner has: ordered by its place in the queue. */
export function waitingKey(controller: string, queueNumber: bigint, taskId: string): string {
  return `/waiting/${controller}/${digits(queueNumber)}/${taskId}`;
}

export function parseWaitingKey(key: string): { queueNumber: bigint; taskId: string } {
  const [, , , queueNumber = "0", taskId = ""] = key.split("/");
  return { queueNumber: numberIn(queueNumber), taskId };
}

/** An attempt of a run that was offered to a runner. The revision of this entry is the fence. */
export function leaseKey(controller: string, taskId: string, runId: string, attempt: number): string {
  return `/leases/${controller}/${taskId}/${runId}/${attempt}`;
}

/** An attempt whose runner was stopped by a shutdown; it is resumed at the next opening. */
export function releasedKey(controller: string, taskId: string, runId: string, attempt: number): string {
  return `/released/${controller}/${taskId}/${runId}/${attempt}`;
}

/** A launch that waits for the run before it to stop. */
export function intentKey(controller: string, taskId: string, runId: string): string {
  return `/intents/${controller}/${taskId}/${runId}`;
}

/** An end that the runner has not been told yet. */
export function deliveryKey(controller: string, taskId: string, runId: string): string {
  return `/deliveries/${controller}/${taskId}/${runId}`;
}

/** The task id of a key of leases, released, intents and deliveries. */
export function listedTaskId(key: string): string {
  return key.split("/")[3] ?? "";
}

/** The index by creation, newest first. */
export function newestKey(controller: string, createTimeMs: number, taskId: string): string {
  return `${newestPrefix(controller)}${time(timeMax - createTimeMs)}/${taskId}`;
}

export function newestPrefix(controller: string): string {
  return `/index/newest/${controller}/`;
}

/** The index by state. */
export function stateKey(controller: string, state: number, taskId: string): string {
  return statePrefix(controller, state) + taskId;
}

export function statePrefix(controller: string, state: number): string {
  return `/index/state/${controller}/${state}/`;
}

export function parseStateKey(key: string): { controller: string; state: number } {
  const [, , , controller = "", state = "0"] = key.split("/");
  return { controller, state: Number(state) };
}

/** The index by label. */
export function labelKey(controller: string, name: string, value: string, taskId: string): string {
  return labelPrefix(controller, name, value) + taskId;
}

export function labelPrefix(controller: string, name: string, value: string): string {
  return `${labelsPrefix(controller)}${encodeURIComponent(name)}=${encodeURIComponent(value)}/`;
}

/** The index by label, of all labels. */
export function labelsPrefix(controller: string): string {
  return `/index/label/${controller}/`;
}

/** The index of ended tasks by the time of their end, oldest first. */
export function endedKey(controller: string, endTimeMs: number, taskId: string): string {
  return `${endedPrefix(controller)}${time(endTimeMs)}/${taskId}`;
}

export function endedPrefix(controller: string): string {
  return `/index/ended/${controller}/`;
}

/** The task id of an index entry, and the time in it where it has one (index/ended). */
export function parseIndexKey(key: string): { taskId: string; timeMs: number } {
  const parts = key.split("/");
  return { taskId: parts.at(-1) ?? "", timeMs: Number(parts.at(-2)) };
}

/** How many tasks are in a state: a counter. */
export function countKey(controller: string, state: number): string {
  return countPrefix(controller) + state;
}

export function countPrefix(controller: string): string {
  return `/counts/${controller}/`;
}

/** Whether a key is of the counters of any controller. */
export function isCountKey(key: string): boolean {
  return key.startsWith("/counts/");
}

/** The state of a counter's key. */
export function parseCountKey(key: string): number {
  return Number(key.split("/").at(-1));
}

/** What a request_id was used for. */
export function requestKey(controller: string, owner: string, requestId: string): string {
  return `/requests/${controller}/${encodeURIComponent(owner)}/${encodeURIComponent(requestId)}`;
}

/** The request ids by the time of their use, oldest first. The value is the key of the request. */
export function requestTimeKey(controller: string, timeMs: number, owner: string, requestId: string): string {
  return `${requestTimePrefix(controller)}${time(timeMs)}/${encodeURIComponent(owner)}/${encodeURIComponent(requestId)}`;
}

export function requestTimePrefix(controller: string): string {
  return `/requests-by-time/${controller}/`;
}

export function parseRequestTimeKey(key: string): { timeMs: number; requestKey: string } {
  const [, , controller = "", timeMs = "0", owner = "", requestId = ""] = key.split("/");
  return { timeMs: Number(timeMs), requestKey: `/requests/${controller}/${owner}/${requestId}` };
}

/** A controller that is to be known at the next start: an index entry. */
export function controllerKey(controller: string): string {
  return controllersPrefix + controller;
}

export const controllersPrefix = "/controllers/";

/** The controller of such a key. */
export function parseControllerKey(key: string): string {
  return key.slice(controllersPrefix.length);
}

export interface TaskMention {
  readonly kind: "task" | "payload" | "log" | "newest" | "state" | "label" | "ended" | TaskListName;
  readonly controller: string;
  readonly taskId: string;
  /** Of logs and trash: which. */
  readonly generation?: string | undefined;
  /** Of logs: the last seq of the chunk. */
  readonly seq?: bigint | undefined;
}

const mentionKinds = new Map<string, TaskMention["kind"]>([
  ["tasks", "task"],
  ["payloads", "payload"],
  ["logs", "log"],
  ["trash", "trash"],
  ["leases", "leases"],
  ["released", "released"],
  ["intents", "intents"],
  ["deliveries", "deliveries"],
  ["waiting", "waiting"],
]);

/** Which task a key is about, and in what way; undefined for keys that are about none, or outlive theirs. */
export function parseMention(key: string): TaskMention | undefined {
  const parts = key.split("/");
  const [, root = "", second = "", third = "", generation, seq] = parts;
  if (root === "index") {
    const [, , , controller = "", , taskId = ""] = parts;
    return { kind: second as TaskMention["kind"], controller, taskId };
  }
  const kind = mentionKinds.get(root);
  if (kind === undefined) return undefined;
  const taskId = kind === "waiting" ? (generation ?? "") : third;
  if (kind !== "log" && kind !== "trash") return { kind, controller: second, taskId };
  return { kind, controller: second, taskId, generation, seq: numberIn(seq ?? "") };
}

/** The prefixes of all index entries of a controller that are none of its tasks' own, or were left by one. */
export function indexEntryPrefixes(controller: string): string[] {
  const roots = ["waiting", "leases", "released", "intents", "deliveries", "trash", "logs", "requests"];
  const indexes = ["newest", "state", "label", "ended"].map((index) => `index/${index}`);
  return [...roots, "requests-by-time", ...indexes].map((root) => `/${root}/${controller}/`);
}

/** The number in the part of a key. What is none, in a key that nobody here has built, is 0: it must not keep a store from being opened. */
function numberIn(text: string): bigint {
  return /^\d{1,20}$/.test(text) ? BigInt(text) : 0n;
}

function digits(value: bigint): string {
  return value.toString().padStart(numberDigits, "0");
}

function time(ms: number): string {
  return Math.max(0, Math.min(timeMax, Math.floor(ms)))
    .toString()
    .padStart(timeDigits, "0");
}
