/**
 * Whether what clients were answered about one task can be put into an order in which each call took place between its beginning and
 * its answer: Wing and Gong's search, with what was tried before remembered. A call without an answer took place at any time
 * after its beginning, or never.
 *
 * What the runner does shows in no call, so a run may have ended by any moment; and a launch over a live run may have replaced it by any.
 */

export type Outcome =
  /** Done; for a call whose answer was lost: perhaps. */
  | { readonly kind: "done" }
  | { readonly kind: "found"; readonly run: number; readonly isEnded: boolean }
  | { readonly kind: "not found" }
  | { readonly kind: "refused" };

export interface Call {
  readonly kind: "launch" | "launch unless active" | "cancel" | "delete" | "get";
  /** Of a launch: the number by which its run is known. */
  readonly run: number;
  readonly began: number;
  /** Infinity while there is no answer. */
  answered: number;
  outcome: Outcome;
}

interface Model {
  /** The run that the task has; undefined: there is no task. */
  readonly run: number | undefined;
  /** It is known to have ended. */
  readonly isEnded: boolean;
  /** A launch that takes its place once it has stopped. */
  readonly next: number | undefined;
}

const nothing: Model = { run: undefined, isEnded: false, next: undefined };
const searchMax = 50_000;
const never = Number.POSITIVE_INFINITY;

/** `expires`: a task that has ended may be gone by any moment. Undefined when there is such an order; else what shows that there is none. */
export function orderComplaint(calls: readonly Call[], { expires = false } = {}): string | undefined {
  // Those that were answered are tried first: what was not seldom has to have taken place.
  const sorted = [...calls].sort((a, b) => a.answered - b.answered || a.began - b.began);
  const seen = new Set<string>();
  let longest: readonly number[] = sorted.map((_, i) => i);
  const search = (open: readonly number[], model: Model): boolean => {
    if (open.length < longest.length) longest = open;
    const firstAnswer = callAt(sorted, open[0])?.answered ?? never;
    if (firstAnswer === never) return true;
    const key = `${open.join()} ${model.run} ${model.isEnded} ${model.next}`;
    if (seen.has(key)) return false;
    seen.add(key);
    if (seen.size > searchMax) throw new Error("the search for an order takes too long");
    return open.some((i) => {
      const call = callAt(sorted, i);
      if (call === undefined || call.began > firstAnswer) return false;
      const others = open.filter((other) => other !== i);
      // One without an answer that changed nothing may as well not have taken place.
      const befores = expires && model.run !== undefined ? [model, nothing] : [model];
      const nexts = befores
        .flatMap((before) => after(before, call))
        .filter((next) => call.answered !== never || !isSame(next, model));
      return nexts.some((next) => search(others, next));
    });
  };
  if (search(longest, nothing)) return undefined;
  const lines = sorted.map((call, i) => ({ began: call.began, line: lineOf(call, longest.includes(i)) }));
  return `no order explains ${lines
    .sort((a, b) => a.began - b.began)
    .map(({ line }) => line)
    .join("; ")}`;
}

function callAt(calls: readonly Call[], i: number | undefined): Call | undefined {
  return i === undefined ? undefined : calls[i];
}

function isSame(a: Model, b: Model): boolean {
  return a.run === b.run && a.isEnded === b.isEnded && a.next === b.next;
}

/** What the call may have made of the task; nothing where it cannot have been answered so. */
function after(model: Model, { kind, run, outcome }: Call): Model[] {
  const { run: current, next } = model;
  const isThere = current !== undefined;
  const promoted: Model = { run: next, isEnded: false, next: undefined };
  switch (outcome.kind) {
    case "not found":
      return isThere ? [] : [model];
    case "refused":
      // Of a launch or a deletion, because the task is active.
      return isThere && (!model.isEnded || next !== undefined) ? [model] : [];
    case "found": {
      const found = { run: outcome.run, isEnded: outcome.isEnded, next };
      if (outcome.run === next) return [{ ...found, next: undefined }];
      return outcome.run === current && (outcome.isEnded || !model.isEnded) ? [found] : [];
    }
    case "done":
      break;
  }
  switch (kind) {
    case "launch":
      if (!isThere) return [{ run, isEnded: false, next: undefined }];
      return next === undefined
        ? [{ ...model, next: run }]
        : [
            { ...promoted, next: run },
            { ...model, next: run },
          ];
    case "launch unless active":
      return [{ run, isEnded: false, next: undefined }];
    case "cancel":
      if (!isThere) return [];
      return next === undefined ? [model] : [{ ...model, next: undefined }, promoted];
    default:
      return isThere ? [nothing] : [];
  }
}

/** `isOpen`: it is one of those for which no place was found. */
function lineOf({ kind, run, began, answered, outcome }: Call, isOpen: boolean): string {
  const is = outcome.kind === "found" ? `run ${outcome.run}${outcome.isEnded ? ", ended" : ""}` : outcome.kind;
  return `${isOpen ? "? " : ""}${kind}${run > 0 ? ` of run ${run}` : ""} from ${began} to ${answered}: ${is}`;
}
