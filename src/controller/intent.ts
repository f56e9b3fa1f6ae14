import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type LaunchIntent, LaunchIntentSchema } from "#gen/stint/store/v1/record_pb.js";
import { intentKey } from "../store/keys.ts";
import type { Change, Entry } from "../store/store.ts";

/** A launch that is stored and waits for the run before it to stop. */
export interface PendingIntent {
  readonly key: string;
  readonly runId: string;
  readonly metadata: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly owner: string;
}

/** The intent, and the change that stores it. */
export function createIntent(
  controller: string,
  taskId: string,
  launch: Omit<PendingIntent, "key">,
): { intent: PendingIntent; change: Change } {
  const key = intentKey(controller, taskId, launch.runId);
  const message = create(LaunchIntentSchema, {
    runId: launch.runId,
    hasMetadata: launch.metadata !== undefined,
    metadata: launch.metadata ?? "",
    labels: { ...launch.labels },
    owner: launch.owner,
  });
  return { intent: { ...launch, key }, change: { type: "index", key, value: toBinary(LaunchIntentSchema, message) } };
}

/** The intent in a stored entry; undefined where it is damaged. */
export function decodeIntent(entry: Entry): PendingIntent | undefined {
  const message = entry.corrupt ? undefined : decodeOrNone(entry.value);
  if (message === undefined || message.runId === "") return undefined;
  return {
    key: entry.key,
    runId: message.runId,
    metadata: message.hasMetadata ? message.metadata : undefined,
    labels: message.labels,
    owner: message.owner,
  };
}

function decodeOrNone(bytes: Uint8Array): LaunchIntent | undefined {
  try {
    return fromBinary(LaunchIntentSchema, bytes);
  } catch {
    // Whatever was written there, it is no intent.
    return undefined;
  }
}
