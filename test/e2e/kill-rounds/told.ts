/**
 * What clients asked for and what they were told: the side of the oracle that is outside of the server. A call
 * is written down when it is begun, and again when it was answered.
 */
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import type { Code } from "@connectrpc/connect";
import type { IfActive, IfEnded, LaunchOutcome } from "#gen/stint/v1/controller_pb.js";
import { stateName } from "../../../src/task/state.ts";
import { nowUs } from "./ledger-line.ts";

interface Call {
  readonly controller: string;
  /** Names the call; in the labels of the run that a launch makes, and in the reason of a cancel. */
  readonly nonce: string;
  /** Nobody else calls for this task, and the calls of this client follow each other. */
  readonly isAlone: boolean;
  readonly begunUs: number;
  /** Infinity while it is not known what became of it. */
  endedUs: number;
  /** How often it was sent. */
  tries: number;
  refusal?: Code;
}

export interface Launch extends Call {
  readonly kind: "launch";
  /** Empty: the server makes one. */
  readonly askedId: string;
  /** Empty while the server has not told it. */
  taskId: string;
  /** Empty: none. */
  readonly requestId: string;
  readonly ifActive: IfActive;
  readonly ifEnded: IfEnded;
  readonly metadata: string | undefined;
  answer?: { readonly taskId: string; readonly runId: string; readonly outcome: LaunchOutcome };
}

export interface Cancel extends Call {
  readonly kind: "cancel";
  readonly taskId: string;
  /** The run that is current when it is answered. */
  answer?: { readonly runId: string };
}

/** A status that somebody was shown. */
export interface Shown {
  readonly by: string;
  readonly taskId: string;
  readonly revision: bigint;
  /** See lineOf. */
  readonly line: string;
}

const problemsMax = 200;

export class Told {
  readonly launches: Launch[] = [];
  readonly cancels: Cancel[] = [];
  readonly shown: Shown[] = [];
  /** What cannot be, whatever is on disk. */
  readonly problems: string[] = [];
  /** How many calls were answered. */
  answers = 0;
  #calls = 0;
  readonly #name: string;

  /** `name` tells the calls from those of other eras on the same store. */
  constructor(name: string) {
    this.#name = name;
  }

  nonce(): string {
    this.#calls += 1;
    return `${this.#name}-${this.#calls}`;
  }

  launch(launch: Omit<Launch, "kind" | "begunUs" | "endedUs" | "tries">): Launch {
    const made: Launch = { ...launch, kind: "launch", begunUs: nowUs(), endedUs: Infinity, tries: 0 };
    this.launches.push(made);
    return made;
  }

  cancel(cancel: Omit<Cancel, "kind" | "begunUs" | "endedUs" | "tries">): Cancel {
    const made: Cancel = { ...cancel, kind: "cancel", begunUs: nowUs(), endedUs: Infinity, tries: 0 };
    this.cancels.push(made);
    return made;
  }

  show(by: string, taskId: string, revision: bigint, status: TaskStatus | undefined): void {
    if (status === undefined) this.complain(`${by} of ${taskId} has no status`);
    else this.shown.push({ by, taskId, revision, line: lineOf(status) });
  }

  complain(problem: string): void {
    if (this.problems.length < problemsMax) this.problems.push(problem);
  }
}

/** What of a status can be compared wherever it is shown. */
export function lineOf(status: TaskStatus): string {
  const transitions = status.transitions.length + Number(status.transitionsDropped);
  const progress = status.progress?.current ?? "none";
  const run = `run ${status.runId} attempt ${status.attempt} progress ${progress} logs ${status.logCount}`;
  const end = `cancel "${status.cancel?.reason ?? ""}" error "${status.error?.message ?? ""}"`;
  return `${stateName(status.state)}, ${run} transitions ${transitions} ${end}`;
}
