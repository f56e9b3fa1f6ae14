/** A client that watches something over the network, and goes on where it was whenever it is cut off. */
import { sleep } from "../../src/clock.ts";
import { ControllerError } from "../../src/controller/error.ts";
import type { ClientParts } from "./client.ts";
import { Pipe } from "./network.ts";
import type { Process } from "./server.ts";
import type { SimNode } from "./sim.ts";

type Told<T> = { readonly change: T } | { readonly end: ControllerError | undefined };

export interface Watching<T> {
  /** Each time before it is opened. */
  readonly begin?: () => void;
  /** Begins, or goes on where it was. */
  readonly open: (process: Process, signal: AbortSignal) => AsyncIterable<T>;
  readonly take: (change: T) => void;
  /** The watch has ended; whether nothing more is wanted of it. */
  readonly end: (error: ControllerError | undefined) => boolean;
  /** All was seen that is wanted: where it is cut off it does not go on. */
  readonly isOver: () => boolean;
  /** How long after each message it takes the next. */
  readonly slowMs: number;
}

const retryMs = 300;
const silentMaxMs = 25_000;

export class Subscription<T> {
  /** How often it went on after it was cut off. */
  resumed = 0;
  readonly #parts: ClientParts;
  readonly #node: SimNode;
  readonly #watching: Watching<T>;
  #isLeft = false;
  #cut: () => void = () => {};

  constructor(parts: ClientParts, node: SimNode, watching: Watching<T>) {
    this.#parts = parts;
    this.#node = node;
    this.#watching = watching;
    this.#open();
  }

  /** The client wants no more. */
  leave(): void {
    this.#isLeft = true;
    this.#cut();
  }

  #open(): void {
    const { network, server } = this.#parts;
    this.#watching.begin?.();
    const leaving = new AbortController();
    let process: Process | undefined;
    let isCut = false;
    let stopWaiting = (): void => {};
    const finish = (): void => {
      isCut = true;
      over();
      stopWaiting();
    };
    // Nothing is heard any more of what broke; the server learns of it later, or by itself.
    const cut = (): void => {
      if (isCut) return;
      finish();
      down.close();
      if (process !== undefined) network.send(process.node, "watch cut", () => leaving.abort());
      if (this.#isLeft || this.#watching.isOver()) return;
      this.resumed += 1;
      this.#node.after(retryMs, () => this.#open());
    };
    this.#cut = cut;
    const cutLater = (): void => network.send(this.#node, "watch cut", cut);
    const over = network.stream(cutLater);
    const listen = (): void => {
      stopWaiting();
      stopWaiting = this.#node.after(silentMaxMs, cut);
    };
    const down = new Pipe<Told<T>>(network, this.#node, "watch", (told) => {
      listen();
      if ("change" in told) this.#watching.take(told.change);
      else if (this.#watching.end(told.end)) finish();
      else cut();
    });
    listen();
    network.send(network.node, "watch", () => {
      if (isCut) return;
      process = server.process;
      if (process === undefined) return network.send(this.#node, "watch refused", cut);
      this.#serve(process, { down, cutLater, signal: leaving.signal });
    });
  }

  #serve(
    process: Process,
    { down, cutLater, signal }: { down: Pipe<Told<T>>; cutLater: () => void; signal: AbortSignal },
  ): void {
    const { network, sim } = this.#parts;
    const { slowMs } = this.#watching;
    const { node } = process;
    void node.died.then(cutLater);
    const sent = async (): Promise<void> => {
      if (network.loses()) cutLater();
      if (slowMs > 0) await sleep(node.foreign, slowMs);
    };
    sim.at(0, node, "watch", () => void pump(() => this.#watching.open(process, signal), down, sent));
  }
}

/** Sends what the watch yields, the next when the one before was taken, and how it ended. */
async function pump<T>(open: () => AsyncIterable<T>, down: Pipe<Told<T>>, sent: () => Promise<void>): Promise<void> {
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
