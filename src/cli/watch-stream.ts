// Watches a task, or all tasks of a controller, over broken connections and restarts of the server.
//
// It owns the position: the revision up to which everything was handed on.
// The loop is in one of these states:
//   connecting   the first stream was opened, nothing came yet
//   following    a stream brings messages
//   outage       the stream broke; the next try comes after a delay
//
// 1. A stream begins after the position, so nothing is handed on twice and nothing is left out.
// 2. Only an outage of a server that has answered is waited out: one that was never there is an error at once.
// 3. An outage is told once, however many tries it takes, and so is its end.
// 4. Where the server does not have the history since the position, the watch
//    begins again with the status as it is, and says so.
// 5. Once the end state was handed on, a stream that breaks is not opened again.
// 6. The snapshot of many tasks comes in no order of revisions: the position moves only behind the bookmark that ends it.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { status as Code } from "@grpc/grpc-js";
import {
  TaskControllerService,
  type WatchTaskRequestSchema,
  type WatchTaskResponse,
  type WatchTasksRequestSchema,
  type WatchTasksResponse,
} from "#gen/stint/v1/controller_pb.js";
import { type Clock, sleep } from "../clock.ts";
import type { Random } from "../random.ts";
import type { RpcClient } from "./client.ts";
import { neverConnected, RpcError } from "./rpc-error.ts";
import { hasEnded } from "./text/task-text.ts";

/** What a watch hands on. */
export type WatchEvent<M = WatchTaskResponse> =
  | { readonly kind: "message"; readonly message: M }
  | { readonly kind: "disconnected"; readonly error: RpcError }
  | { readonly kind: "reconnected" }
  | { readonly kind: "history-lost"; readonly error: RpcError };

export interface WatchStreamOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** How long an outage is waited out; default 10 min, so that a script does not hang forever on a server that is gone. */
  readonly outageMaxMs?: number;
  /** Whether the server has answered a call before this one. Default false. */
  readonly hasAnswered?: boolean;
}

/**
 * Everything that happens to the task, until it has ended. Throws RpcError for what
 * trying again does not help with, and the signal's reason when that is aborted.
 */
export function watchTask(
  client: RpcClient,
  request: MessageInitShape<typeof WatchTaskRequestSchema>,
  options: WatchStreamOptions,
): AsyncGenerator<WatchEvent> {
  const { watchTask: method } = TaskControllerService.method;
  const watched = {
    since: request.sinceRevision ?? 0n,
    maySayNothing: request.waitForLaunch === true,
    open: (sinceRevision: bigint) => client.stream(method, { ...request, sinceRevision }, { signal: options.signal }),
    positionAfter: ({ revision }: WatchTaskResponse) => revision,
    isEnd: ({ status }: WatchTaskResponse) => status !== undefined && hasEnded(status.state),
  };
  return follow(watched, options);
}

/** Everything that happens to the tasks of a controller, from a snapshot of them on; it has no end. Throws as watchTask does. */
export function watchTasks(
  client: RpcClient,
  request: MessageInitShape<typeof WatchTasksRequestSchema>,
  options: WatchStreamOptions,
): AsyncGenerator<WatchEvent<WatchTasksResponse>> {
  const { watchTasks: method } = TaskControllerService.method;
  let isWhole = false;
  const watched = {
    since: request.sinceRevision ?? 0n,
    maySayNothing: false,
    open(sinceRevision: bigint) {
      isWhole = sinceRevision > 0n;
      return client.stream(method, { ...request, sinceRevision }, { signal: options.signal });
    },
    positionAfter({ bookmark, revision }: WatchTasksResponse) {
      isWhole ||= bookmark;
      return isWhole ? revision : 0n;
    },
    isEnd: () => false,
  };
  return follow(watched, options);
}

/** What is watched, by the messages that tell of it. */
interface Watched<M> {
  /** The revision to begin after; 0 is with a snapshot. */
  readonly since: bigint;
  /** Whether a stream may stay silent though all is well, also without a revision to begin after. */
  readonly maySayNothing: boolean;
  open(sinceRevision: bigint): AsyncIterable<M>;
  /** The revision up to which everything has come with this message. */
  positionAfter(message: M): bigint;
  isEnd(message: M): boolean;
}

async function* follow<M>(watched: Watched<M>, options: WatchStreamOptions): AsyncGenerator<WatchEvent<M>> {
  const { clock, signal, outageMaxMs = 600_000, hasAnswered = false } = options;
  let position = watched.since;
  let received = hasAnswered;
  let ended = false;
  let outage: { readonly startMs: number; tries: number } | undefined;
  for (;;) {
    try {
      for await (const message of watched.open(position)) {
        if (outage) yield { kind: "reconnected" };
        outage = undefined;
        received = true;
        const reached = watched.positionAfter(message);
        if (reached > position) position = reached;
        ended ||= watched.isEnd(message);
        yield { kind: "message", message };
      }
      return;
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      if (ended) return;
      if (error.code === Code.OUT_OF_RANGE && position > 0n && (received || error.details.reason === "COMPACTED")) {
        position = 0n;
        yield { kind: "history-lost", error };
        continue;
      }
      // Waiting for a launch, or for what is newer than a revision, nothing may have come for a long time over a
      // connection that was there.
      const mayBeSilent = watched.maySayNothing || position > 0n;
      const wasThere = received || (mayBeSilent && !neverConnected(error)) || outage !== undefined;
      if (!wasThere || !isPassing(error)) throw error;
      if (!outage) yield { kind: "disconnected", error };
      outage ??= { startMs: clock.mono(), tries: 0 };
      if (clock.mono() - outage.startMs > outageMaxMs) throw error;
      await sleep(clock, retryDelayMs(outage.tries, error, options.random), signal);
      signal.throwIfAborted();
      outage.tries += 1;
    }
  }
}

/** Whether another try may go well. What a proxy or a dying server makes of a stream counts as a broken one. */
function isPassing({ code, details, message }: RpcError): boolean {
  if (code === Code.RESOURCE_EXHAUSTED) return details.retryDelayMs !== undefined;
  if (code === Code.INTERNAL) return /RST_STREAM|stream.*(closed|reset)/i.test(message);
  return code === Code.UNAVAILABLE || code === Code.DEADLINE_EXCEEDED || code === Code.CANCELLED;
}

/** Doubles from 250 ms to 5 s, half of it by chance, so that many watchers of one server do not come back at once. */
export function retryDelayMs(tries: number, error: RpcError, random: Random): number {
  const ceilingMs = Math.min(5000, 250 * 2 ** Math.min(tries, 10));
  const delayMs = ceilingMs / 2 + (random.fraction() * ceilingMs) / 2;
  return Math.max(delayMs, Math.min(error.details.retryDelayMs ?? 0, 30_000));
}
