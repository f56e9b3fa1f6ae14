/** A client that watches a task to its end, and goes on where it was whenever it is cut off. */
import type { TaskChange } from "../../src/controller/controller.ts";
import type { ControllerError } from "../../src/controller/error.ts";
import { isEnded } from "../../src/task/state.ts";
import type { ClientParts } from "./client.ts";
import type { SimNode } from "./sim.ts";
import { Subscription } from "./subscription.ts";

/** What it saw since it began with the status as it was. */
interface Stretch {
  readonly changes: TaskChange[];
  /** What its runners said. */
  readonly logs: string[];
}

export class Follow {
  readonly taskId: string;
  readonly stretches: Stretch[] = [{ changes: [], logs: [] }];
  /** It saw the end of a run. */
  isOver = false;
  readonly #parts: ClientParts;
  readonly #subscription: Subscription<TaskChange>;
  #revision = 0n;

  /** `slowMs`: how long after each message it takes the next. */
  constructor(parts: ClientParts, node: SimNode, { taskId, slowMs }: { taskId: string; slowMs: number }) {
    this.#parts = parts;
    this.taskId = taskId;
    this.#subscription = new Subscription<TaskChange>(parts, node, {
      open: ({ controller }, signal) => {
        const options = { sinceRevision: this.#revision, includeLogs: true, waitForLaunch: true, signal };
        return controller.watchTask(taskId, options);
      },
      take: (change) => this.#take(change),
      end: (error) => this.#end(error),
      isOver: () => this.isOver,
      slowMs,
    });
  }

  /** How often it went on after it was cut off. */
  get resumed(): number {
    return this.#subscription.resumed;
  }

  /** The client wants no more. */
  leave(): void {
    this.#subscription.leave();
  }

  /** What was wrong with what it saw, now that everything is over. */
  complaints(): string[] {
    const made = this.#parts.ledger.versions(this.taskId).flatMap((version) => {
      return version?.record.isTransition === true ? [version.revision] : [];
    });
    return this.stretches.flatMap(({ changes, logs }) => {
      const [first] = changes;
      const last = changes.at(-1);
      const seen = changes.map(({ revision }) => revision);
      if (first === undefined || last === undefined) return [];
      const transitions = seen.filter((revision) => made.includes(revision));
      const due = made.filter((revision) => revision >= first.revision && revision <= last.revision);
      const complaints: string[] = [];
      if (transitions.join() !== due.join())
        complaints.push(`a watch of ${this.taskId} showed the transitions ${transitions.join()}, not ${due.join()}`);
      if (seen.some((revision, i) => i > 0 && revision <= (seen[i - 1] ?? 0n)))
        complaints.push(`a watch of ${this.taskId} showed ${seen.join()}`);
      if (new Set(logs).size < logs.length) complaints.push(`a watch of ${this.taskId} showed an entry twice`);
      return complaints;
    });
  }

  #take(change: TaskChange): void {
    const { status, revision } = change;
    const { ledger } = this.#parts;
    if (revision < this.#revision)
      ledger.broken(`a watch of ${this.taskId} went from ${this.#revision} to ${revision}`);
    this.#revision = revision;
    const stretch = this.stretches.at(-1) as Stretch;
    // What the controller says itself it may say again.
    stretch.logs.push(...change.logs.map(({ msg }) => msg).filter((msg) => msg.includes(" step ")));
    if (status === undefined) return;
    ledger.shown(this.taskId, status, revision);
    stretch.changes.push(change);
    if (this.isOver) ledger.broken(`a watch of ${this.taskId} went on after the end`);
    this.isOver = isEnded(status.state);
  }

  /** Whether the watch is over. */
  #end(error: ControllerError | undefined): boolean {
    const { ledger } = this.#parts;
    if (error === undefined) {
      if (!this.isOver) ledger.broken(`a watch of ${this.taskId} ended before its task`);
      return true;
    }
    if (error.code === "UNAVAILABLE") return false;
    if (error.code === "OUT_OF_RANGE" && error.details.reason === "COMPACTED") {
      // The history is gone: it begins anew.
      this.#revision = 0n;
      this.stretches.push({ changes: [], logs: [] });
      return false;
    }
    if (error.code === "DATA_LOSS" && ledger.isRotten(this.taskId)) return true;
    ledger.broken(`a watch of ${this.taskId} ended with ${String(error)}`);
    return true;
  }
}
