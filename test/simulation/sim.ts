/**
 * The core of the simulator: one queue of events under one seed. Nothing else makes anything happen, so the same seed and plan give the
 * same events in the same order, and the hash of the trace says so.
 *
 * 1. Time stands still but between two events. Of those that are due at one moment a seeded number says which is first.
 * 2. All that follows from an event without time passing has happened before the next.
 * 3. What a node has waited for when it died never happens: nothing of a dead process goes on.
 * 4. A paused node's events wait for it; its clocks do not.
 * 5. Nothing goes on for ever without time passing: that is a loop, and ends the run.
 */
import type { Clock } from "../../src/clock.ts";
import type { Random } from "../../src/random.ts";
import { SeededRandom } from "../support/seeded-random.ts";

interface SimEvent {
  timeMs: number;
  /** Which of those that are due at one time comes first. */
  readonly tie: number;
  readonly nth: number;
  readonly node: SimNode;
  readonly label: string;
  readonly fire: () => void;
  isCanceled: boolean;
  /** It was due while its node was paused. */
  isHeld: boolean;
}

const startWallMs = 1_700_000_000_000;
const eventsAtOnceMax = 20_000;

export class Sim {
  readonly random: SeededRandom;
  nowMs = 0;
  /** How many events there were. */
  steps = 0;
  readonly #queue: SimEvent[] = [];
  #nth = 0;
  #atOnce = 0;
  #hash = 0x811c9dc5;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
  }

  /** What has happened so far, in one number. */
  get traceHash(): string {
    return this.#hash.toString(16).padStart(8, "0");
  }

  node(name: string): SimNode {
    return new SimNode(this, name);
  }

  /** Calls `fire` in `delayMs`, if the node is alive then; the returned function takes it back. */
  at(delayMs: number, node: SimNode, label: string, fire: () => void): () => void {
    if (node.isDead || delayMs === Number.POSITIVE_INFINITY) return () => {};
    const timeMs = this.nowMs + Math.max(0, delayMs);
    const tie = this.random.fraction();
    const event = { timeMs, tie, nth: (this.#nth += 1), node, label, fire, isCanceled: false, isHeld: false };
    this.#push(event);
    return () => {
      event.isCanceled = true;
    };
  }

  /** What waited for the node happens now. */
  release(node: SimNode): void {
    for (const event of this.#queue.splice(0)) {
      if (event.node === node && event.isHeld) event.timeMs = this.nowMs;
      this.#push(event);
    }
  }

  /** Adds to the trace what an event has led to. */
  note(what: string): void {
    for (let i = 0; i < what.length; i += 1) this.#hash = Math.imul(this.#hash ^ what.charCodeAt(i), 0x01000193) >>> 0;
  }

  /** Lets events happen until there is none before `untilMs`, or `isOver` says so; `check` is called after each. */
  async run(untilMs: number, check: () => void, isOver: () => boolean = () => false): Promise<void> {
    await nextTurn();
    check();
    while (!isOver()) {
      const event = this.#queue[0];
      if (event === undefined || event.timeMs > untilMs) {
        this.nowMs = Math.max(this.nowMs, untilMs);
        return;
      }
      this.#pop();
      if (event.isCanceled || event.node.isDead) continue;
      this.#countMoment(event);
      if (event.node.pausedUntilMs > this.nowMs) {
        event.timeMs = event.node.pausedUntilMs;
        event.isHeld = true;
        this.#push(event);
        continue;
      }
      this.steps += 1;
      this.note(`${this.nowMs} ${event.node.name} ${event.label};`);
      event.fire();
      await nextTurn();
      check();
    }
  }

  #countMoment({ timeMs, node, label }: SimEvent): void {
    this.#atOnce = timeMs > this.nowMs ? 0 : this.#atOnce + 1;
    if (this.#atOnce > eventsAtOnceMax) throw new Error(`${node.name} goes on with "${label}" without time passing`);
    this.nowMs = Math.max(this.nowMs, timeMs);
  }

  #push(event: SimEvent): void {
    const queue = this.#queue;
    let at = queue.length;
    queue.push(event);
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = queue[up] as SimEvent;
      if (isBefore(parent, event)) break;
      queue[at] = parent;
      at = up;
    }
    queue[at] = event;
  }

  #pop(): void {
    const queue = this.#queue;
    const last = queue.pop();
    if (last === undefined || queue.length === 0) return;
    let at = 0;
    for (;;) {
      let down = at * 2 + 1;
      if (down >= queue.length) break;
      if (down + 1 < queue.length && isBefore(queue[down + 1] as SimEvent, queue[down] as SimEvent)) down += 1;
      const child = queue[down] as SimEvent;
      if (isBefore(last, child)) break;
      queue[at] = child;
      at = down;
    }
    queue[at] = last;
  }
}

/** All that can happen without time passing has happened when this resolves, also what itself waits for some turns of the event loop. */
async function nextTurn(): Promise<void> {
  for (let i = 0; i < 5; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  if (a.timeMs !== b.timeMs) return a.timeMs < b.timeMs;
  return a.tie === b.tie ? a.nth < b.nth : a.tie < b.tie;
}

/** One life of a process, or a machine with a clock of its own. */
export class SimNode implements Clock {
  readonly name: string;
  /** Resolves when it dies. */
  readonly died: Promise<void>;
  pausedUntilMs = 0;
  wallOffsetMs = 0;
  /** How many timers are set by the product. */
  timers = 0;
  readonly #sim: Sim;
  #die: () => void = () => {};
  #isDead = false;

  constructor(sim: Sim, name: string) {
    this.#sim = sim;
    this.name = name;
    this.died = new Promise((resolve) => {
      this.#die = resolve;
    });
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** The same clock for code of the node that is not the product's: its timers are not counted. */
  get foreign(): Clock {
    return {
      mono: () => this.mono(),
      wall: () => this.wall(),
      after: (delayMs, fire) => this.#sim.at(delayMs, this, "timer", fire),
    };
  }

  mono(): number {
    return this.#sim.nowMs;
  }

  wall(): number {
    return startWallMs + this.#sim.nowMs + this.wallOffsetMs;
  }

  after(delayMs: number, fire: () => void): () => void {
    if (delayMs === Number.POSITIVE_INFINITY) return () => {};
    let isSet = true;
    this.timers += 1;
    const unset = (): void => {
      if (isSet) this.timers -= 1;
      isSet = false;
    };
    const cancel = this.#sim.at(delayMs, this, "timer", () => {
      unset();
      fire();
    });
    return () => {
      unset();
      cancel();
    };
  }

  /** Dies as it is. */
  kill(): void {
    this.#isDead = true;
    this.#die();
  }

  /** Stands still for so long: nothing of it happens meanwhile. */
  pause(ms: number): void {
    this.pausedUntilMs = Math.max(this.pausedUntilMs, this.#sim.nowMs + ms);
  }

  /** Goes on, if it stood still. */
  resume(): void {
    if (this.pausedUntilMs <= this.#sim.nowMs) return;
    this.pausedUntilMs = 0;
    this.#sim.release(this);
  }
}

/** Chance from the seed. Ids are told apart by where they are made. */
export function createSimRandom(random: SeededRandom, prefix: string): Random {
  let ids = 0;
  return {
    id: () => `${prefix}-${(ids += 1)}`.padEnd(16, "-"),
    fraction: () => random.fraction(),
  };
}
