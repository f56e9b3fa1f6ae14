/**
 * What every call has in common: it is refused while the server cannot serve, it
 * ends with its signal whatever it waits for, and it fails by the one table.
 */
import type {
  DescMessage,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { Code, ConnectError, type HandlerContext, type MethodImpl } from "@connectrpc/connect";
import { onAbort } from "../async/signals.ts";
import { ControllerError } from "../controller/error.ts";
import type { Faults } from "../faults.ts";
import { type Availability, drainingError } from "./availability.ts";
import { toConnectError } from "./errors.ts";
import type { StreamSlots } from "./stream-slots.ts";

export interface CallPolicy {
  readonly availability: Availability;
  readonly streams: StreamSlots;
  readonly faults: Faults;
}

/** What a unary method knows of its call, whatever has taken it: connect's handlers or the lane of gRPC. */
export interface CallContext {
  readonly method: { readonly name: string };
  /** Aborted when nobody waits for the answer any more, with the error of the call. */
  readonly signal: AbortSignal;
  /** The call is answered when its time is over, whatever the method still waits for, and its signal made when it is asked for: so most calls need none. */
  readonly endsItself?: boolean;
  /** What such a call was answered with meanwhile. */
  readonly endedWith?: ConnectError | undefined;
  /** How much time is left; undefined: as much as it takes. */
  timeoutMs(): number | undefined;
}

/** What implements a unary method. */
export type UnaryCall<I extends DescMessage = DescMessage, O extends DescMessage = DescMessage> = (
  request: MessageShape<I>,
  context: CallContext,
) => Promise<MessageInitShape<O>>;

/** Who has asked for an answer, and is told once. Never throws. */
export interface Asking<O> {
  /** The answer. */
  take(answer: O): void;
  /** There is none any more; undefined: the method has said all. */
  over(error: ConnectError | undefined): void;
}

/** The answers of a call that streams them. */
export interface Answers<O> {
  /** Asks for the next answer, one at a time; told of it as soon as it is there, which may be at once. Nothing is kept of one that was taken. */
  ask(asking: Asking<O>): void;
  /** The same with a promise. Rejects with a ConnectError. */
  next(): Promise<IteratorResult<O, undefined>>;
  /** Ends it with the error, unless it is over: whoever waits for an answer is told at once. */
  end(error: ConnectError | ControllerError): void;
  /** The client has got all of it, or has left: nothing is held for it any more. Ends it, unless it is over. */
  close(): void;
}

/** What implements a method that streams its answers. */
export type StreamCall<I extends DescMessage = DescMessage, O extends DescMessage = DescMessage> = (
  request: MessageShape<I>,
  context: Pick<CallContext, "method">,
) => Answers<MessageInitShape<O>>;

/** What implements a service: as connect has it, but for methods of one request message, which get less. */
export type Implementation<S extends DescService> = {
  readonly [M in keyof S["method"]]: S["method"][M] extends DescMethodUnary<infer I, infer O>
    ? UnaryCall<I, O>
    : S["method"][M] extends DescMethodServerStreaming<infer I, infer O>
      ? StreamCall<I, O>
      : MethodImpl<S["method"][M]>;
};

/**
 * Resolves as `promise` does, or rejects with the signal's reason as soon as it is
 * aborted: what ignores the signal goes on, and nobody waits for it.
 */
export async function raceSignal<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let off = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    off = onAbort(signal, () => reject(abortError(signal)));
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    off();
  }
}

/** Why the signal of a call was aborted, as the error of the call: DEADLINE_EXCEEDED, DRAINING or CANCELED. */
export function abortError(signal: AbortSignal): ConnectError | ControllerError {
  const reason: unknown = signal.reason;
  if (reason instanceof ConnectError || reason instanceof ControllerError) return reason;
  return callCanceled();
}

/** Why nobody waits for the answer of a call any more; undefined while somebody does. */
export function whyOver(call: Pick<CallContext, "signal" | "endsItself" | "endedWith">): Error | undefined {
  if (call.endsItself === true) return call.endedWith;
  return call.signal.aborted ? abortError(call.signal) : undefined;
}

/** Why a call is over whose client has left. */
export function callCanceled(): ConnectError {
  return new ConnectError("the call was canceled", Code.Canceled);
}

/** A signal that is aborted when that of the call is, with its reason, and when the server drains. */
export function endOnDrain({ availability }: CallPolicy, signal: AbortSignal): { signal: AbortSignal } & Disposable {
  const ending = new AbortController();
  const onChange = (): void => {
    if (availability.draining) ending.abort(drainingError());
  };
  const offChange = availability.onChange(onChange);
  const offAbort = onAbort(signal, () => ending.abort(signal.reason));
  onChange();
  return {
    signal: ending.signal,
    [Symbol.dispose]() {
      offChange();
      offAbort();
    },
  };
}

/** A unary method by the policy. `always`: also answered while the server cannot serve others. */
export function unaryCall<I, O>(
  policy: CallPolicy,
  handle: (request: I, context: CallContext) => Promise<O>,
  options: { always?: boolean } = {},
): (request: I, context: CallContext) => Promise<O> {
  return async (request, context) => {
    try {
      const signal = context.endsItself === true ? undefined : context.signal;
      const over = whyOver(context);
      if (over !== undefined) throw over;
      if (options.always !== true) refuseUnlessServing(policy);
      const answer = handle(request, context);
      return await (signal === undefined ? answer : raceSignal(answer, signal));
    } catch (error) {
      throw toConnectError(error, policy.faults, context.method.name);
    }
  };
}

/**
 * A method of which both sides stream, by the policy; it holds a slot until it ends. What `handle` throws when it is called
 * comes before that all slots are taken; what it returns is begun with a slot only.
 */
export function streamCall<I, O>(
  policy: CallPolicy,
  handle: (request: I, context: HandlerContext) => AsyncIterable<O>,
  options: { always?: boolean } = {},
): (request: I, context: HandlerContext) => AsyncGenerator<O> {
  return async function* stream(request, context) {
    let giveBack = (): void => {};
    try {
      if (context.signal.aborted) throw abortError(context.signal);
      if (options.always !== true) refuseUnlessServing(policy);
      const answers = handle(request, context);
      giveBack = policy.streams.take();
      yield* answers;
    } catch (error) {
      throw toConnectError(error, policy.faults, context.method.name);
    } finally {
      giveBack();
    }
  };
}

/** Throws UNAVAILABLE while the server cannot serve. */
export function refuseUnlessServing({ availability }: CallPolicy): void {
  const refusal = availability.refusal();
  if (refusal !== undefined) throw refusal;
}
