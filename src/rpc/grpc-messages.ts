import { create, type DescMessage, type DescMethod, type Message, type MessageInitShape } from "@bufbuild/protobuf";
import { createMethodSerializationLookup } from "@connectrpc/connect/protocol";
import { createQuickDecoder } from "../messages/message-decoder.ts";
import { createEncoder } from "../messages/message-encoder.ts";

/** How many bytes a message may have. */
export interface MessageLimits {
  readonly readMaxBytes: number;
  readonly writeMaxBytes: number;
}

/** What makes messages of bytes, and bytes of messages. */
export interface GrpcMessages {
  /** A request, which is no larger than it may be. Throws what connect throws for one that cannot be read. */
  readonly decode: (bytes: Uint8Array) => Message;
  /** An answer, of which no more than its fields is wanted. Throws what connect throws for one that is too large. */
  readonly encode: (answer: object) => Uint8Array;
}

/**
 * Those of a method: what is usual is done here, at a fraction of the cost, and what is not is left to connect, so that it says of
 * it what it says for every other protocol.
 */
export function createGrpcMessages(method: DescMethod, limits: MessageLimits): GrpcMessages {
  const messages = createMethodSerializationLookup(method, undefined, undefined, limits);
  const [requests, answers] = [messages.getI(true), messages.getO(true)];
  const decodeQuickly = createQuickDecoder(method.input);
  const encodeQuickly = createEncoder(method.output);
  return {
    decode(bytes) {
      return decodeQuickly(bytes)?.[0] ?? requests.parse(bytes);
    },
    encode(answer) {
      const message = create(method.output, answer as MessageInitShape<DescMessage>);
      const bytes = encodeQuickly(message);
      return bytes.byteLength <= limits.writeMaxBytes ? bytes : answers.serialize(message);
    },
  };
}
