import { createHash } from "node:crypto";
import { encodeJson } from "../task/encode-json.ts";
import { checkLabels, checkRequestId, checkTaskId, checkText } from "../task/ids.ts";
import { checkMetadataText, isBlank } from "../task/metadata.ts";
import type { TaskLimits } from "../task/limits.ts";
import type { IfActive, IfEnded, LaunchOptions } from "./controller.ts";
import { type FieldViolation, invalidArgument } from "./error.ts";

/** A launch whose every option is checked and has its default. */
export interface ResolvedLaunch {
  /** JSON text; undefined when none was given. */
  readonly metadata: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly ifActive: IfActive;
  readonly ifEnded: IfEnded;
  readonly requestId: string;
  readonly ifRevision: bigint | undefined;
  readonly owner: string;
  readonly generatedTaskId: boolean;
}

const ifActives: readonly string[] = ["restart", "fail", "use-existing"];
const ifEndeds: readonly string[] = ["relaunch", "relaunch-unless-completed", "use-existing", "fail"];

/** Throws INVALID_ARGUMENT that names every bad option. */
export function resolveLaunch(taskId: string, options: LaunchOptions, limits: TaskLimits): ResolvedLaunch {
  const violations: FieldViolation[] = [];
  const complain = (field: string, description: string | undefined): void => {
    if (description !== undefined) violations.push({ field, description });
  };
  const { ifActive = "restart", ifEnded = "relaunch", requestId = "", owner = "" } = options;
  // A copy: what is stored later must be what was checked.
  const labels = { ...options.labels };
  complain("task_id", checkTaskId(taskId));
  complain("request_id", checkRequestId(requestId, limits.idMaxBytes));
  if (!ifActives.includes(ifActive)) complain("if_active", `must be one of ${ifActives.join(", ")}`);
  if (!ifEndeds.includes(ifEnded)) complain("if_ended", `must be one of ${ifEndeds.join(", ")}`);
  if (options.ifRevision !== undefined && options.ifRevision < 0n) complain("if_revision", "must not be negative");
  complain("owner", checkText(owner, limits.messageMaxBytes));
  violations.push(...checkLabels(labels, limits));
  const metadata = metadataOf(options, limits, complain);
  if (violations.length > 0) throw invalidArgument(violations);
  return {
    metadata,
    labels,
    ifActive,
    ifEnded,
    requestId,
    ifRevision: options.ifRevision,
    owner,
    generatedTaskId: options.generatedTaskId ?? false,
  };
}

function metadataOf(
  options: LaunchOptions,
  limits: TaskLimits,
  complain: (field: string, description: string | undefined) => void,
): string | undefined {
  if (options.metadata !== undefined && options.jsonMetadata !== undefined) {
    complain("metadata", "must not be given together with json_metadata");
    return undefined;
  }
  const field = options.metadata === undefined ? "json_metadata" : "metadata";
  let text = options.jsonMetadata;
  if (options.metadata !== undefined) {
    try {
      text = encodeJson(options.metadata);
    } catch (error) {
      complain(field, `must be encodable as JSON: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    }
    if (text === undefined) complain(field, "must be an object");
  }
  if (text === undefined || isBlank(text)) return undefined;
  complain(field, checkMetadataText(text, limits));
  return text;
}

/** What tells a launch from another with the same request_id. */
export function payloadHash(taskId: string, launch: ResolvedLaunch): Uint8Array {
  const payload = [
    launch.generatedTaskId ? null : taskId,
    launch.metadata ?? null,
    Object.entries(launch.labels).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)),
    launch.ifActive,
    launch.ifEnded,
    launch.ifRevision?.toString() ?? null,
  ];
  return createHash("sha256").update(JSON.stringify(payload)).digest();
}
