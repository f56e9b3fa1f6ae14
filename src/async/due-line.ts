import type { Clock } from "../clock.ts";

/** Something that is told when it is due. */
export interface Due {
  due(): void;
}

/**
 * Many that are each due the same time after they were put in, with one timer for all: a line in order of time, of
 * which only the first has to be waited for.
 */
export class DueLine {
  readonly #delayMs: number;
  /** Who is in the line, and since when. */
  readonly #line = new Map<Due, number>();
  #cancel: (() => void) | undefined;

  constructor(delayMs: number) {
    this.#delayMs = delayMs;
  }

  has(member: Due): boolean {
    return this.#line.has(member);
  }

  /** Puts it at the end of the line, as of now, wherever it was. */
  put(clock: Clock, member: Due): void {
    this.#line.delete(member);
    this.#line.set(member, clock.mono());
    if (this.#cancel === undefined) this.#arrange(clock, this.#delayMs);
  }

  remove(member: Due): void {
    if (this.#line.delete(member) && this.#line.size === 0) this.#disarm();
  }

  /** Nobody is due any more. */
  clear(): void {
    this.#line.clear();
    this.#disarm();
  }

  #disarm(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #arrange(clock: Clock, delayMs: number): void {
    this.#cancel = clock.after(delayMs, () => this.#fire(clock));
  }

  #fire(clock: Clock): void {
    this.#cancel = undefined;
    const now = clock.mono();
    const due: Due[] = [];
    for (const [member, sinceMs] of this.#line) {
      const leftMs = sinceMs + this.#delayMs - now;
      if (leftMs > 0) {
        // Whole ones: a timer may be early by a part of a millisecond.
        this.#arrange(clock, Math.ceil(leftMs));
        break;
      }
      this.#line.delete(member);
      due.push(member);
    }
    for (const member of due) member.due();
  }
}
