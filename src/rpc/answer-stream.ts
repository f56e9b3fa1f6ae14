/**
 * The answers of a call that streams them, by the policy of all calls.
 *
 * It owns what the method has opened for the call: an iterator, a slot, and a signal where one was asked for.
 *
 * States: new -> begun (at the first `next`) -> over.
 *
 * 1. What the method says when it begins, such as that the request is not valid, comes before that all slots are taken; what it
 *    returns is begun with a slot only.
 * 2. It can be ended from outside at any time: whoever waits for an answer is told at once, and the iterator let go of, also while
 *    the call waits for a client that does not read.
 * 3. Where it does not end by itself its slot is free when it is closed: what a client does not read is held until then, and a deadline must not
 *    make room for the next that does not.
 * 4. It ends without an error only where the method has said that it is over.
 * 5. While it waits for an answer it has no timer, no signal that nobody has asked for, and no promise that its iterator does not need.
 */
import type { ConnectError } from "@connectrpc/connect";
import { askNext, type Asking as AskingIterator } from "../async/asking.ts";
import type { ControllerError } from "../controller/error.ts";
import {
  type Answers,
  type Asking,
  callCanceled,
  type CallContext,
  type CallPolicy,
  refuseUnlessServing,
} from "./call.ts";
import { toConnectError } from "./errors.ts";

/** What a method answers with. */
export interface Streamed<O> {
  readonly answers: AsyncIterable<O>;
  /** Called with each answer. */
  readonly note?: (answer: O) => void;
  /** What the call ends with when the server drains; undefined: the method sees to that itself. */
  readonly drained?: () => ControllerError;
}

/** What a method that streams its answers knows of its call. */
export interface StreamedCall {
  /** Aborted when the call is over, with its error. It is made when it is asked for: who needs none lets go when its iterator is told to return. */
  readonly signal: AbortSignal;
}

/** A method that streams its answers, by the policy. `always`: also answered while the server cannot serve others. */
export function serverStreamCall<I, O>(
  policy: CallPolicy,
  handle: (request: I, call: StreamedCall) => Streamed<O>,
  { always = false }: { always?: boolean } = {},
): (request: I, context: Pick<CallContext, "method">) => Answers<O> {
  return (request, { method }) =>
    new AnswerStream((call) => handle(request, call), { policy, rpc: method.name, always });
}

interface AnswerStreamOptions {
  readonly policy: CallPolicy;
  /** The method's name. */
  readonly rpc: string;
  /** Also answered while the server cannot serve others. */
  readonly always: boolean;
}

class AnswerStream<O> implements Answers<O>, StreamedCall {
  readonly #open: (call: StreamedCall) => Streamed<O>;
  readonly #options: AnswerStreamOptions;
  #iterator: AsyncIterator<O> | undefined;
  #note: ((answer: O) => void) | undefined;
  #asked: Asking<O> | undefined;
  #isOver = false;
  /** Why it is over; undefined where the method has said so. */
  #endedWith: ConnectError | undefined;
  #ending: AbortController | undefined;
  #giveBack: (() => void) | undefined;
  #offDrain: (() => void) | undefined;
  /** How the iterator tells what comes next. */
  readonly #told: AskingIterator<O> = {
    resolve: (next) => this.#answer(next),
    reject: (error) => this.#fail(error),
  };

  constructor(open: (call: StreamedCall) => Streamed<O>, options: AnswerStreamOptions) {
    this.#open = open;
    this.#options = options;
  }

  get signal(): AbortSignal {
    if (this.#ending === undefined) {
      this.#ending = new AbortController();
      if (this.#isOver) this.#ending.abort(this.#endedWith);
    }
    return this.#ending.signal;
  }

  ask(asking: Asking<O>): void {
    this.#asked = asking;
    if (this.#isOver) return this.#settle();
    try {
      this.#iterator ??= this.#begin();
      if (!this.#isOver) askNext(this.#iterator, this.#told);
    } catch (error) {
      this.#fail(error);
    }
  }

  next(): Promise<IteratorResult<O, undefined>> {
    return new Promise((resolve, reject) => {
      this.ask({
        take: (value) => resolve({ done: false, value }),
        over: (error) => (error === undefined ? resolve({ done: true, value: undefined }) : reject(error)),
      });
    });
  }

  end(error: ConnectError | ControllerError): void {
    this.#fail(error);
  }

  close(): void {
    this.#fail(callCanceled());
    this.#freeSlot();
  }

  #begin(): AsyncIterator<O> {
    const { policy, always } = this.#options;
    if (!always) refuseUnlessServing(policy);
    const { answers, note, drained } = this.#open(this);
    this.#giveBack = policy.streams.take();
    this.#note = note;
    const { availability } = policy;
    if (drained !== undefined) {
      this.#offDrain = availability.onChange(() => {
        if (availability.draining) this.end(drained());
      });
    }
    return answers[Symbol.asyncIterator]();
  }

  #answer(next: IteratorResult<O>): void {
    if (this.#isOver) return;
    if (next.done === true) return this.#end(undefined);
    this.#note?.(next.value);
    const asked = this.#asked;
    this.#asked = undefined;
    asked?.take(next.value);
  }

  #fail(error: unknown): void {
    const { policy, rpc } = this.#options;
    if (!this.#isOver) this.#end(toConnectError(error, policy.faults, rpc));
  }

  #freeSlot(): void {
    this.#giveBack?.();
    this.#giveBack = undefined;
  }

  #end(error: ConnectError | undefined): void {
    this.#isOver = true;
    this.#endedWith = error;
    if (error === undefined) this.#freeSlot();
    this.#offDrain?.();
    this.#ending?.abort(error);
    // It may wait for something that ignores that it is told to return; nobody waits for it.
    this.#iterator?.return?.().catch(() => {});
    this.#settle();
  }

  #settle(): void {
    const asked = this.#asked;
    this.#asked = undefined;
    asked?.over(this.#endedWith);
  }
}
