/**
 * How many launches are worked on at one time, who waits for its turn, and who is refused. Under load it is launches that wait: each is a synced commit and
 * a task more, while the ends, cancels and writes of the tasks there are go by here.
 *
 * A call that launches comes -> is refused, goes inside, or waits in line -> inside -> done. Who waits may leave the line. The launches of a batch go inside together,
 * and leave one by one.
 *
 * 1. Whether a call is taken is decided when it comes. Who is refused is told so at once, with a time to try again: a refusal that has waited is late for who
 *    could have come again. Who was taken is served, unless it leaves (7) or the server cannot serve (8).
 * 2. Who finds nobody in line is taken. Who finds some is taken where its turn will come within `waitMaxMs`, and it will be done before `timeShareMax` of
 *    its time is over: a line in which everybody is at the end of its time when its turn comes is work for nobody. What counts is what is ahead of a call, not how
 *    many launches it has itself: a batch is as welcome as a single launch. However fast it moves, nobody is taken into a line of `lineFactor` times `max` launches:
 *    it costs bounded memory.
 * 3. When a turn will come is estimated by Little's law, from the line alone: the launches in line, times how long its first has waited, divided by how many were begun
 *    in that time. All of that is in launches, as calls have from one to a thousand. Where more were inside when the first came, it is those: they were worked on
 *    meanwhile. Without them a batch that takes its time, as it begins as one, would look like a line that stands. Before anything has begun since the first came there is no
 *    pace to judge by: the first may be a batch that waits for the few that are inside, and be gone in a moment. Nobody is refused by it then until the first has itself
 *    waited too long.
 * 4. No pace is kept. A line that is empty has none, and who leaves the line takes along what was slow in its time. Those that come at once find a first who has not waited: a
 *    burst is taken up to the bound. Where the line has stood still, the estimate is too long as long as one is there who saw it; but it shrinks with the line, so
 *    that more come in before the line is empty. So a call is refused only while there are others to go on with.
 * 5. At most `max` launches are inside; a batch of more goes in when nobody is, and others when it has become less. Those in line go in in the order of arrival, and nobody
 *    passes them. What waits for a runner, as the one before has to be told of an end first, and not for the store, is not inside: it gives its place back when it begins to
 *    wait, and goes on without one after that. So no runner holds up the launches of others. At most eight times `max` wait so, whether their
 *    callers are still there or not: the next is refused. No place is given back twice.
 * 6. Of those inside a few begin in each turn of the event loop: each takes up to a millisecond until it waits for the store. What else there is goes on in between.
 * 7. Who leaves while it waits takes no place, and who is over when its turn comes begins nothing.
 * 8. While the server cannot serve nobody waits: who is in line is told why.
 * 9. Who is refused for the line is counted, as every call that is refused because of a limit.
 *
 * What it cannot do: a call costs something before it can be refused, a fifth to a half of what a single launch does, so that enough of those take all of a processor.
 * In between the turns go on (6, and the request listener reads a few calls in each), so launches have their share all the same, and refusals are what comes late.
 *
 * Rejected: to refuse before the request is read. What it saves is a third of what a refusal costs, and what the client goes on sending has to be read all the same, or
 * the window of its connection is lost to the calls beside it. A limit that adapts by how long launches take: it cannot tell a slow disk, where more at once help, from a
 * busy processor, where they do not. Controlled delay (RFC 8289) by the age of the first alone: it takes everybody until the first is old, and then nobody until all are gone.
 */
import type { ConnectError } from "@connectrpc/connect";
import { createFewAtATime } from "../async/few-at-a-time.ts";
import { onAbort } from "../async/signals.ts";
import type { Clock } from "../clock.ts";
import { limitError } from "../controller/error.ts";
import type { Faults } from "../faults.ts";
import type { Availability } from "./availability.ts";
import { abortError, type CallContext, whyOver } from "./call.ts";
import { fromControllerError, refusedMessage } from "./errors.ts";

const limit = "launches_at_once_max";
const waitMaxMs = 1_000;
const timeShareMax = 0.75;
const retryDelayMs = 1_000;
const lineFactor = 32;
const begunPerTurn = 10;
const parkedFactor = 8;

/** A call that launches. */
export type Launching = Pick<CallContext, "method" | "signal" | "endsItself" | "endedWith" | "timeoutMs">;

/** Gives back so many of the places that were taken together, by default all that are left. There are no more than those, however often it is called. */
export type Leave = (count?: number) => void;

interface Waiting {
  readonly count: number;
  readonly sinceMs: number;
  /** How many launches had begun when it came, and how many of them were inside. */
  readonly begunBefore: number;
  readonly insideBefore: number;
  begin(): void;
  refuse(error: Error): void;
}

export interface LaunchGateOptions {
  /** How many launches are inside at most. */
  readonly max: number;
  readonly clock: Clock;
  readonly availability: Pick<Availability, "refusal" | "onChange">;
  readonly faults: Pick<Faults, "note">;
}

export class LaunchGate {
  readonly #options: LaunchGateOptions;
  readonly #line = new Set<Waiting>();
  readonly #turn: () => Promise<void>;
  readonly #refusal: ConnectError;
  readonly #refusalToPark: ConnectError;
  #inside = 0;
  #waiting = 0;
  #begun = 0;
  #parked = 0;

  constructor(options: LaunchGateOptions) {
    const { clock, availability } = options;
    this.#options = options;
    this.#refusal = refusalOf(options.max, "too many tasks are being launched just now; try again");
    const tooManyWait = "too many launches wait until a runner was told how a task has ended; try again";
    this.#refusalToPark = refusalOf(options.max, tooManyWait);
    this.#turn = createFewAtATime(clock, begunPerTurn);
    availability.onChange(() => this.#refuseAll(availability.refusal()));
  }

  /**
   * Resolves when `count` launches may begin; the returned function says that they are done, or wait for no more than a runner. Rejects with RESOURCE_EXHAUSTED (LIMIT)
   * where the call is not taken, at once; with UNAVAILABLE where it waits and the server cannot serve; and as the call ends when that is over.
   */
  async enter(count: number, call: Launching): Promise<Leave> {
    const leave = await this.#goInside(count, call);
    await this.#turn();
    const over = whyOver(call);
    if (over === undefined) return leave;
    leave();
    throw over;
  }

  #goInside(count: number, call: Launching): Promise<Leave> | Leave {
    if (this.#line.size === 0 && this.#hasRoom(count)) return this.#begin(count);
    if (!this.#takes(call.timeoutMs() ?? Number.POSITIVE_INFINITY)) throw this.#refuse(call, this.#refusal);
    return this.#waitInLine(count, call.signal);
  }

  #refuse({ method }: Pick<Launching, "method">, refusal: ConnectError): ConnectError {
    this.#options.faults.note("calls_refused", { rpc: method.name, limit }, refusedMessage);
    return refusal;
  }

  /**
   * Launches that were let in begin to wait for a runner: gives their places back. The returned function says, once, that they are over. Throws RESOURCE_EXHAUSTED (LIMIT)
   * where too many wait so; they keep their places, and are to end.
   */
  park(leave: Leave, count: number, call: Pick<Launching, "method">): () => void {
    if (this.#parked + count > this.#options.max * parkedFactor) throw this.#refuse(call, this.#refusalToPark);
    this.#parked += count;
    leave(count);
    return () => {
      this.#parked -= count;
    };
  }

  #hasRoom(count: number): boolean {
    return this.#inside === 0 || this.#inside + count <= this.#options.max;
  }

  /** Whether who comes now, and finds no room, is taken (invariants 2 to 4). */
  #takes(leftMs: number): boolean {
    const [first] = this.#line;
    if (first === undefined) return true;
    if (this.#waiting >= this.#options.max * lineFactor) return false;
    const waitedMs = this.#options.clock.mono() - first.sinceMs;
    const begunSince = this.#begun - first.begunBefore;
    if (begunSince === 0 && waitedMs <= waitMaxMs && waitedMs <= leftMs * timeShareMax) return true;
    const paceMs = waitedMs / Math.max(1, first.insideBefore, begunSince);
    return this.#waiting * paceMs <= waitMaxMs && (this.#waiting + this.#inside) * paceMs <= leftMs * timeShareMax;
  }

  #begin(count: number): Leave {
    this.#inside += count;
    this.#begun += count;
    let held = count;
    return (leaving = held) => {
      const free = Math.min(leaving, held);
      if (free === 0) return;
      held -= free;
      this.#inside -= free;
      this.#admit();
    };
  }

  #admit(): void {
    for (const next of this.#line) {
      if (!this.#hasRoom(next.count)) return;
      next.begin();
    }
  }

  #refuseAll(error: Error | undefined): void {
    if (error !== undefined) for (const next of this.#line) next.refuse(error);
  }

  #waitInLine(count: number, signal: AbortSignal): Promise<Leave> {
    return new Promise((resolve, reject) => {
      // A signal that is aborted already calls back before it is there.
      let offAbort = (): void => {};
      const leave = (): void => {
        this.#line.delete(entry);
        this.#waiting -= count;
        offAbort();
      };
      const entry: Waiting = {
        count,
        sinceMs: this.#options.clock.mono(),
        begunBefore: this.#begun,
        insideBefore: this.#inside,
        begin: () => {
          leave();
          resolve(this.#begin(count));
        },
        refuse: (error) => {
          leave();
          reject(error);
        },
      };
      this.#line.add(entry);
      this.#waiting += count;
      offAbort = onAbort(signal, () => {
        entry.refuse(abortError(signal));
        // It may have been the first, and too large for the room that there is for those behind it.
        this.#admit();
      });
    });
  }
}

/** Made once, and encoded once: a refusal has to cost a small part of what a launch does. */
function refusalOf(max: number, message: string): ConnectError {
  return fromControllerError(limitError(limit, max, message, retryDelayMs));
}
