/**
 * Deletes a task whose record cannot be read. What belongs to it is not known, so whatever names it is looked
 * for: the entries by task id where they begin with it, and all entries of an index where they end with it. That
 * costs a walk over the indexes, for a thing that should never happen; what was left there would stand in the way
 * of a new task with the id.
 */
import {
  countKey,
  endedPrefix,
  labelsPrefix,
  listPrefix,
  logsPrefix,
  newestPrefix,
  parseIndexKey,
  parseWaitingKey,
  payloadsPrefix,
  stateKey,
  taskKey,
  taskListPrefix,
} from "../store/keys.ts";
import type { Change } from "../store/store.ts";
import { allStates } from "../task/state.ts";
import { commit, once } from "./commit.ts";
import type { Core } from "./core.ts";
import type { Parts } from "./parts.ts";
import type { TaskActor } from "./task-actor.ts";

const pageSize = 1_000;
const listsByTask = ["leases", "released", "intents", "deliveries"] as const;

/** In the task's turn. Throws UNAVAILABLE. */
export async function deleteDamaged(parts: Parts, actor: TaskActor): Promise<void> {
  const { core, runs } = parts;
  const { taskId } = actor;
  const { name } = core;
  for await (const key of keysUnder(core, logsPrefix(name, taskId))) {
    // One by one, and first: a log may be large, and nothing of it is of use without the record.
    await commit(core, [{ type: "unindex", key }], [], "once");
  }
  const changes: Change[] = [{ type: "delete", key: taskKey(name, taskId) }];
  for await (const key of keysUnder(core, payloadsPrefix(name, taskId))) changes.push({ type: "delete", key });
  for (const list of listsByTask) {
    for await (const key of keysUnder(core, taskListPrefix(list, name, taskId))) changes.push({ type: "unindex", key });
  }
  for (const prefix of [newestPrefix(name), endedPrefix(name), labelsPrefix(name)]) {
    for await (const key of keysUnder(core, prefix)) {
      if (parseIndexKey(key).taskId === taskId) changes.push({ type: "unindex", key });
    }
  }
  let waits = false;
  for await (const key of keysUnder(core, listPrefix("waiting", name))) {
    if (parseWaitingKey(key).taskId !== taskId) continue;
    changes.push({ type: "unindex", key });
    waits = true;
  }
  for (const state of allStates) {
    const key = stateKey(name, state, taskId);
    for await (const found of keysUnder(core, key)) {
      if (found !== key) break;
      changes.push({ type: "unindex", key }, { type: "add", key: countKey(name, state), delta: -1n });
    }
  }
  await commit(core, changes, [], "once");
  actor.intent = undefined;
  core.quarantine.release(taskId);
  if (waits) runs.dispatcher.forget();
  core.hub.wake(taskId);
}

/** The keys with the prefix, page by page. */
async function* keysUnder(core: Core, prefix: string): AsyncGenerator<string> {
  let after: string | undefined;
  for (;;) {
    const page = await once(core, () => core.store.scan({ prefix, after, limit: pageSize }));
    for (const entry of page) yield entry.key;
    if (page.length < pageSize) return;
    after = page.at(-1)?.key;
  }
}
