/**
 * What request ids were used for. The record is written in the launch's own
 * commit, under the condition that there is none yet; so a request has its effect once, and a repetition finds its answer.
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type LaunchRequestRecord, LaunchRequestRecordSchema } from "#gen/stint/store/v1/record_pb.js";
import { parseRequestTimeKey, requestKey, requestTimeKey, requestTimePrefix } from "../store/keys.ts";
import type { Change, Condition } from "../store/store.ts";
import { commit, once, untilDone } from "./commit.ts";
import type { LaunchOutcome } from "./controller.ts";
import type { Core } from "./core.ts";
import { ControllerError } from "./error.ts";
import { payloadHash, type ResolvedLaunch } from "./launch-options.ts";

/** How long a request id is remembered. */
export const requestKeptMs = 24 * 60 * 60 * 1000;

const outcomes: readonly LaunchOutcome[] = ["launched", "restarted", "used-existing"];
const sweepPage = 256;

/** What a request id was used for, as far as this launch is concerned. */
export interface UsedRequest {
  readonly taskId: string;
  readonly runId: string;
  readonly outcome: LaunchOutcome;
  readonly generation: string;
}

/** What the launch did before, when it is a repetition. Throws ALREADY_EXISTS for another payload. */
export function findRequest(
  core: Core,
  taskId: string,
  launch: ResolvedLaunch,
): Promise<UsedRequest | undefined> | undefined {
  return launch.requestId === "" ? undefined : findUsed(core, taskId, launch);
}

async function findUsed(core: Core, taskId: string, launch: ResolvedLaunch): Promise<UsedRequest | undefined> {
  const key = requestKey(core.name, launch.owner, launch.requestId);
  const record = await loadRequest(core, key);
  if (record === undefined) return undefined;
  if (!Buffer.from(record.payloadHash).equals(payloadHash(taskId, launch))) {
    throw new ControllerError("ALREADY_EXISTS", "the request_id was used with another payload", {
      reason: "REQUEST_ID_REUSED",
    });
  }
  return {
    taskId: record.taskId,
    runId: record.runId,
    outcome: outcomes[record.outcome - 1] ?? "launched",
    generation: record.generation,
  };
}

/** Throws DATA_LOSS: what the request did is not known, so it is neither done again nor refused as another. */
async function loadRequest(core: Core, key: string): Promise<LaunchRequestRecord | undefined> {
  try {
    const entry = await once(core, () => core.store.get(key));
    return entry && fromBinary(LaunchRequestRecordSchema, entry.value);
  } catch (error) {
    if (error instanceof ControllerError) throw error;
    throw new ControllerError("DATA_LOSS", "what this request_id was used for is damaged; use another, or wait 24 h", {
      cause: error,
      reason: "CORRUPT",
    });
  }
}

/** What belongs to the commit of a launch that has a request id. */
export function requestChanges(
  core: Core,
  taskId: string,
  launch: ResolvedLaunch,
  did: Omit<UsedRequest, "taskId">,
): { changes: Change[]; conditions: Condition[] } {
  if (launch.requestId === "") return { changes: [], conditions: [] };
  const key = requestKey(core.name, launch.owner, launch.requestId);
  const record = create(LaunchRequestRecordSchema, {
    payloadHash: payloadHash(taskId, launch),
    taskId,
    runId: did.runId,
    outcome: outcomes.indexOf(did.outcome) + 1,
    generation: did.generation,
  });
  const timeKey = requestTimeKey(core.name, core.clock.wall(), launch.owner, launch.requestId);
  return {
    changes: [
      { type: "index", key, value: toBinary(LaunchRequestRecordSchema, record) },
      { type: "index", key: timeKey, value: new Uint8Array(0) },
    ],
    conditions: [{ key, revision: 0n }],
  };
}

/** Forgets the request ids that are too old, one page. True when there may be more. */
export async function sweepRequests(core: Core): Promise<boolean> {
  const before = core.clock.wall() - requestKeptMs;
  const page = await untilDone(core, () => core.store.scan({ prefix: requestTimePrefix(core.name), limit: sweepPage }));
  const old = page
    .map((entry) => ({ key: entry.key, ...parseRequestTimeKey(entry.key) }))
    .filter((each) => each.timeMs <= before);
  if (old.length === 0) return false;
  const changes = old.flatMap((each): Change[] => [
    { type: "unindex", key: each.requestKey },
    { type: "unindex", key: each.key },
  ]);
  await commit(core, changes, [], "until-done");
  return old.length === sweepPage;
}
