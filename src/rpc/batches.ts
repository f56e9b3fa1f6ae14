/** Messages of a stream as they come and go: several at once. Who takes one at a time pays for each what is done for all of them together here. */
import { type DescMessage, type Message, toBinary } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";

/** A message that was read. */
export interface Received<M> {
  readonly message: M;
  /** How many it had when it was decoded. */
  readonly bytes: number;
}

/** What implements a method that streams both ways. A batch of requests throws where the next of them cannot be read. */
export type BatchCall<I = Message, O = Message> = (
  requests: AsyncIterable<Iterable<Received<I>>>,
  context: HandlerContext,
) => AsyncIterable<readonly O[]>;

/** Takes the messages of batches one by one. */
export class MessageReader<M> {
  readonly #batches: AsyncIterator<Iterable<Received<M>>>;
  #batch: Iterator<Received<M>> | undefined;

  constructor(batches: AsyncIterable<Iterable<Received<M>>>) {
    this.#batches = batches[Symbol.asyncIterator]();
  }

  /** The next of those that have come; undefined where all of them were taken. Throws where it cannot be read. */
  take(): Received<M> | undefined {
    const next = this.#batch?.next();
    if (next?.done === false) return next.value;
    this.#batch = undefined;
    return undefined;
  }

  /** Once all were taken: resolves to true when more have come, and to false at their end. */
  async more(): Promise<boolean> {
    const next = await this.#batches.next();
    if (next.done === true) return false;
    this.#batch = next.value[Symbol.iterator]();
    return true;
  }

  /** Nothing more is taken. */
  stop(): void {
    this.#batches.return?.().catch(() => {});
  }
}

/** The same of messages that come one by one. */
export async function* eachAlone<M extends Message>(
  messages: AsyncIterable<M>,
  schema: DescMessage,
): AsyncGenerator<Received<M>[]> {
  for await (const message of messages) yield [{ message, bytes: toBinary(schema, message).byteLength }];
}
