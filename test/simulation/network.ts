/** What is between the nodes: everything that is said takes a while, in which it may be lost. */
import type { Sim, SimNode } from "./sim.ts";

const latencyMinMs = 0.1;
const latencyMaxMs = 8;
const lossRate = 0.25;

export class Network {
  readonly sim: Sim;
  /** What is under way belongs to nobody. */
  readonly node: SimNode;
  readonly #streams = new Set<() => void>();
  #lossyUntilMs = 0;
  /** How many messages were lost, and how many streams were cut. */
  lost = 0;
  cuts = 0;

  constructor(sim: Sim) {
    this.sim = sim;
    this.node = sim.node("network");
  }

  loseSome(ms: number): void {
    this.#lossyUntilMs = Math.max(this.#lossyUntilMs, this.sim.nowMs + ms);
  }

  heal(): void {
    this.#lossyUntilMs = 0;
  }

  /** Whether the message is lost that is sent now; on a stream, whether that breaks. */
  loses(): boolean {
    const isLost = this.sim.nowMs < this.#lossyUntilMs && this.sim.random.chance(lossRate);
    if (isLost) this.lost += 1;
    return isLost;
  }

  /** Whether what is sent now arrives once more, later. */
  repeats(): boolean {
    return this.sim.nowMs < this.#lossyUntilMs && this.sim.random.chance(lossRate);
  }

  latencyMs(): number {
    return latencyMinMs + this.sim.random.fraction() * (latencyMaxMs - latencyMinMs);
  }

  /** Says something to a node; it arrives if that is alive then. */
  send(to: SimNode, label: string, arrive: () => void): void {
    this.sim.at(this.latencyMs(), to, label, arrive);
  }

  /** `cut` is called when the stream breaks; the returned function says that it is over. */
  stream(cut: () => void): () => void {
    this.#streams.add(cut);
    return () => this.#streams.delete(cut);
  }

  /** Every stream breaks. */
  cutAll(): void {
    for (const cut of [...this.#streams]) {
      this.cuts += 1;
      cut();
    }
  }
}

/** One direction of a stream: what is pushed arrives in order. */
export class Pipe<T> {
  readonly #network: Network;
  readonly #to: SimNode;
  readonly #label: string;
  readonly #arrive: (item: T) => void;
  readonly #queue: T[] = [];
  #isClosed = false;

  constructor(network: Network, to: SimNode, label: string, arrive: (item: T) => void) {
    this.#network = network;
    this.#to = to;
    this.#label = label;
    this.#arrive = arrive;
  }

  push(item: T): void {
    if (this.#isClosed) return;
    this.#queue.push(item);
    // Whichever of its events is the next takes the oldest.
    this.#network.send(this.#to, this.#label, () => {
      const [next] = this.#queue.splice(0, 1) as [T];
      if (!this.#isClosed) this.#arrive(next);
    });
  }

  /** Nothing more arrives. */
  close(): void {
    this.#isClosed = true;
  }
}
