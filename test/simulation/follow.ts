/** A client that watches a task to its end, and goes on where it was whenever it is cut off. */
import type { TaskChange } from "../../src/controller/controller.ts";
import { ControllerError } from "../../src/controller/error.ts";
import { isEnded } from "../../src/task/state.ts";
import type { ClientParts } from "./client.ts";
import { Pipe } from "./network.ts";
import type { SimNode } from "./sim.ts";

type Told = { readonly change: TaskChange } | { readonly end: ControllerError | undefined };

/** What it saw since it began with the status as it was. */
interface Stretch {
  readonly changes: TaskChange[];
  /** What its runners said. */
  readonly logs: string[];
}

const retryMs = 300;
const silentMaxMs = 25_000;

export class Follow {
  readonly taskId: string;
  readonly stretches: Stretch[] = [{ changes: [], logs: [] }];
  /** It saw the end of a run. */
  isOver = false;
  /** How often it went on after it was cut off. */
  resumed = 0;
  readonly #parts: ClientParts;
  readonly #node: SimNode;
  readonly #slowMs: number;
  #revision = 0n;
  #isLeft = false;

  /** `slowMs`: how long after each message it takes the next. */
  constructor(parts: ClientParts, node: SimNode, { taskId, slowMs }: { taskId: string; slowMs: number }) {
    this.#parts = parts;
    this.#node = node;
    this.taskId = taskId;
    this.#slowMs = slowMs;
    this.#open();
  }

  /** The client wants no more. */
  leave(): void {
    this.#isLeft = true;
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

  #open(): void {
    const { network, server, sim } = this.#parts;
    const leaving = new AbortController();
    let isCut = false;
    let stopWaiting = (): void => {};
    // Nothing is heard any more of what broke; the server learns of it later, or by itself.
    const cut = (): void => {
      if (isCut) return;
      isCut = true;
      over();
      down.close();
      stopWaiting();
      if (process !== undefined) network.send(process.node, "watch cut", () => leaving.abort());
      if (this.#isLeft || this.isOver) return;
      this.resumed += 1;
      this.#node.after(retryMs, () => this.#open());
    };
    const over = network.stream(() => network.send(this.#node, "watch cut", cut));
    const listen = (): void => {
      stopWaiting();
      stopWaiting = this.#node.after(silentMaxMs, cut);
    };
    const down = new Pipe<Told>(network, this.#node, "watch", (told) => {
      listen();
      if ("change" in told) return this.#take(told.change);
      if (this.#end(told.end)) {
        isCut = true;
        over();
        stopWaiting();
      } else cut();
    });
    let process = server.process;
    listen();
    network.send(network.node, "watch", () => {
      process = server.process;
      if (process === undefined) return network.send(this.#node, "watch refused", cut);
      const { controller, node } = process;
      void node.died.then(() => network.send(this.#node, "watch cut", cut));
      const options = { sinceRevision: this.#revision, includeLogs: true, waitForLaunch: true, signal: leaving.signal };
      const sent = async (): Promise<void> => {
        if (network.loses()) network.send(this.#node, "watch cut", cut);
        if (this.#slowMs > 0) await new Promise<void>((resolve) => node.after(this.#slowMs, resolve));
      };
      sim.at(0, node, "watch", () => void pump(() => controller.watchTask(this.taskId, options), down, sent));
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

/** Sends what the watch yields, the next when the one before was taken, and how it ended. */
async function pump(open: () => AsyncIterable<TaskChange>, down: Pipe<Told>, sent: () => Promise<void>): Promise<void> {
  try {
    for await (const change of open()) {
      down.push({ change });
      await sent();
    }
    down.push({ end: undefined });
  } catch (error) {
    if (!(error instanceof ControllerError)) throw error;
    down.push({ end: error });
  }
}
