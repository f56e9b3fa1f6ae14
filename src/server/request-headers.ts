/** What is looked at in the headers of a request before anything is done for it. */
import type { ServerLimits } from "./limits.ts";
import type { OverLimit } from "./refuse.ts";

/** The limit that the headers are beyond, if they are. `rawHeaders` has names and values in turn. */
export function exceededLimit(rawHeaders: readonly string[], limits: ServerLimits): OverLimit | undefined {
  const { headerPairsMax, headerListMaxBytes } = limits;
  const httpStatus = 431;
  if (rawHeaders.length > headerPairsMax * 2) return { name: "header_pairs_max", value: headerPairsMax, httpStatus };
  // Of HTTP/2 only the compressed size is bounded below. Counted as its SETTINGS do: RFC 9113, section 6.5.2.
  const listBytes = rawHeaders.reduce((sum, text) => sum + text.length + 16, 0);
  if (listBytes > headerListMaxBytes) return { name: "header_list_max_bytes", value: headerListMaxBytes, httpStatus };
  return undefined;
}

const deadlineUnits: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 0.001,
  n: 0.000_001,
};

/**
 * The deadline that is to hold for a call, in the form of Connect or of gRPC: what the header asks for, clamped, and one where there must be one.
 * A malformed one is left: the handler refuses it.
 */
export function clampDeadline(
  asked: string | undefined,
  connect: boolean,
  limit: { readonly maxMs: number; readonly required: boolean },
): string | undefined {
  let askedMs: number | undefined;
  if (asked !== undefined) {
    const match = connect ? /^(\d{1,10})$/.exec(asked) : /^(\d{1,8})([HMSmun])$/.exec(asked);
    if (match === null) return asked;
    askedMs = Number(match[1]) * (deadlineUnits[match[2] ?? "m"] as number);
  }
  const isClamped = askedMs === undefined ? limit.required : askedMs > limit.maxMs;
  if (!isClamped) return asked;
  return connect ? String(limit.maxMs) : `${limit.maxMs}m`;
}
