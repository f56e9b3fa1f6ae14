import { create, type DescField, type DescMessage } from "@bufbuild/protobuf";
import { reflect, type ReflectMessage } from "@bufbuild/protobuf/reflect";
import { type TaskStatus, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import type { Complaint } from "../task/ids.ts";
import { quoteInput } from "../task/quote-input.ts";

/** Which fields of a TaskStatus are asked for: whole, or some fields of a message in it. */
export type ReadMask = ReadonlyMap<string, true | ReadMask>;

/** What a list shows where no mask is given: these come only when named. */
export const unlistedFields: readonly string[] = ["metadata", "result", "logs"];

/**
 * The mask of `paths`, which are relative to TaskStatus and may lead into its
 * messages, as "progress.current" does; undefined when there are none. Every path
 * that names no field is a complaint.
 */
export function parseReadMask(paths: readonly string[]): { mask: ReadMask | undefined; complaints: Complaint[] } {
  const complaints: Complaint[] = [];
  const mask: MutableMask = new Map();
  for (const [index, path] of paths.entries()) {
    if (!addPath(mask, TaskStatusSchema, path.split("."))) {
      const description = `must be a path of core.v1.TaskStatus, not ${quoteInput(path)}`;
      complaints.push({ field: `read_mask.paths[${index}]`, description });
    }
  }
  return { mask: paths.length === 0 ? undefined : mask, complaints };
}

/** A copy of `status` that has the fields of `mask` only. */
export function applyReadMask(status: TaskStatus, mask: ReadMask): TaskStatus {
  const masked = create(TaskStatusSchema);
  copyFields(reflect(TaskStatusSchema, status), reflect(TaskStatusSchema, masked), mask);
  return masked;
}

type MutableMask = Map<string, true | MutableMask>;

function addPath(mask: MutableMask, desc: DescMessage, path: readonly string[]): boolean {
  const [name, ...rest] = path;
  const field = desc.fields.find((each) => each.name === name);
  if (field === undefined) return false;
  if (rest.length === 0) {
    mask.set(field.name, true);
    return true;
  }
  if (field.fieldKind !== "message") return false;
  const inner = mask.get(field.name) ?? new Map();
  // The whole is named already; the path must be right all the same.
  if (inner === true) return addPath(new Map(), field.message, rest);
  if (!addPath(inner, field.message, rest)) return false;
  mask.set(field.name, inner);
  return true;
}

function copyFields(from: ReflectMessage, to: ReflectMessage, mask: ReadMask): void {
  for (const [name, inner] of mask) {
    const field = from.fields.find((each) => each.name === name) as DescField;
    if (!from.isSet(field)) continue;
    if (inner === true || field.fieldKind !== "message") {
      to.set(field, from.get(field));
      continue;
    }
    const part = reflect(field.message, create(field.message));
    copyFields(from.get(field), part, inner);
    to.set(field, part);
  }
}
