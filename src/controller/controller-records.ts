/**
 * The controllers that are to be known at the next start, each with who runs its tasks. A record is there before the
 * controller's first task, and goes after its last: so no task is ever of a controller that nobody knows.
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type ControllerRecord, ControllerRecordSchema } from "#gen/stint/store/v1/record_pb.js";
import { controllerKey, controllersPrefix, indexEntryPrefixes, parseControllerKey, taskKey } from "../store/keys.ts";
import type { Change, Entry } from "../store/store.ts";
import { commit, once, untilDone } from "./commit.ts";
import { ControllerError } from "./error.ts";

type RecordsCore = Parameters<typeof commit>[0];

const pageSize = 500;

/** What is known of a controller. */
export interface KnownController {
  /** The stint.v1.RunnerKind of who runs its tasks; 0 where the record is damaged. */
  readonly runnerKind: number;
  /** The configuration names it, or has named it. */
  readonly configured: boolean;
}

/** Every controller that has a record, by name. */
export async function loadControllerRecords(core: RecordsCore): Promise<Map<string, KnownController>> {
  const known = new Map<string, KnownController>();
  for (let after: string | undefined; ; ) {
    const from = after;
    const page = await untilDone(core, () =>
      core.store.scan({ prefix: controllersPrefix, after: from, limit: pageSize }),
    );
    for (const entry of page) {
      const { runnerKind, configured } = decodeRecord(entry);
      known.set(parseControllerKey(entry.key), { runnerKind, configured });
    }
    after = page.at(-1)?.key;
    if (page.length < pageSize) return known;
  }
}

function decodeRecord(entry: Entry): ControllerRecord {
  try {
    return fromBinary(ControllerRecordSchema, entry.value);
  } catch {
    // What the controller is called stands in the key, and that is what matters.
    return create(ControllerRecordSchema);
  }
}

/** Stores that there is such a controller, in place of what was stored of it. Throws UNAVAILABLE. */
export async function storeControllerRecord(core: RecordsCore, name: string, known: KnownController): Promise<void> {
  const key = controllerKey(name);
  const value = toBinary(ControllerRecordSchema, create(ControllerRecordSchema, known));
  const changes: Change[] = [
    { type: "unindex", key },
    { type: "index", key, value },
  ];
  await commit(core, changes, [], "until-done");
}

/**
 * Removes what is stored of a controller that takes no launches and has no tasks; its record last, so that a
 * crash in the middle leaves it known. (Its counters, all at zero, stay: the store cannot remove one.) Throws FAILED_PRECONDITION
 * where it has a task, and UNAVAILABLE.
 */
export async function eraseController(core: RecordsCore, name: string): Promise<void> {
  const [task] = await once(core, () => core.store.scan({ prefix: taskKey(name, ""), limit: 1 }));
  if (task !== undefined)
    throw new ControllerError("FAILED_PRECONDITION", `the controller "${name}" has tasks; delete them first`);
  for (const prefix of indexEntryPrefixes(name)) {
    for (let isLast = false; !isLast; ) {
      const page = await once(core, () => core.store.scan({ prefix, limit: pageSize }));
      const changes = page.map(({ key }): Change => ({ type: "unindex", key }));
      if (changes.length > 0) await commit(core, changes, [], "once");
      isLast = page.length < pageSize;
    }
  }
  await commit(core, [{ type: "unindex", key: controllerKey(name) }], [], "once");
}
