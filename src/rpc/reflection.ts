/**
 * Server reflection, v1 and v1alpha (the same messages under two names), over a
 * DescriptorIndex. What a request asks for and is not there is answered in the
 * stream, and the stream goes on.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import type {
  ServerReflection,
  ServerReflectionRequest,
  ServerReflectionResponseSchema,
} from "#gen/grpc/reflection/v1/reflection_pb.js";
import type { ServerReflection as ServerReflectionV1Alpha } from "#gen/grpc/reflection/v1alpha/reflection_pb.js";
import { quoteInput } from "../task/quote-input.ts";
import { type CallPolicy, endOnDrain, type Implementation, raceSignal, streamCall } from "./call.ts";
import type { DescriptorIndex, IndexedFile } from "./descriptor-index.ts";

type Answer = MessageInitShape<typeof ServerReflectionResponseSchema>["messageResponse"];

export interface ReflectionServices {
  readonly v1: Implementation<typeof ServerReflection>;
  readonly v1alpha: Implementation<typeof ServerReflectionV1Alpha>;
}

/** `services` are the names that are listed: those that are served. */
export function createReflectionServices(
  policy: CallPolicy,
  index: DescriptorIndex,
  services: readonly string[],
): ReflectionServices {
  async function* answerAll(requests: AsyncIterable<ServerReflectionRequest>, signal: AbortSignal) {
    // A file that was sent on this stream is not sent again: the client has it.
    const sent = new Set<string>();
    using ending = endOnDrain(policy, signal);
    const incoming = requests[Symbol.asyncIterator]();
    for (;;) {
      const next = await raceSignal(incoming.next(), ending.signal);
      if (next.done === true) return;
      const request = next.value;
      yield { validHost: request.host, originalRequest: request, messageResponse: answer(request, sent) };
    }
  }

  function answer({ messageRequest: asked }: ServerReflectionRequest, sent: Set<string>): Answer {
    switch (asked.case) {
      case "listServices":
        return {
          case: "listServicesResponse",
          value: { service: [...services].sort().map((name) => ({ name })) },
        };
      case "fileByFilename":
        return filesAnswer(index.file(asked.value), sent, `file ${quoteInput(asked.value)}`);
      case "fileContainingSymbol":
        return filesAnswer(index.fileOfSymbol(asked.value), sent, `symbol ${quoteInput(asked.value)}`);
      case "fileContainingExtension": {
        const { containingType, extensionNumber } = asked.value;
        const files = index.fileOfExtension(containingType, extensionNumber);
        return filesAnswer(files, sent, `extension ${extensionNumber} of ${quoteInput(containingType)}`);
      }
      case "allExtensionNumbersOfType": {
        const extensionNumber = index.extensionNumbers(asked.value);
        if (extensionNumber === undefined) return errorAnswer(Code.NotFound, `no message ${quoteInput(asked.value)}`);
        return { case: "allExtensionNumbersResponse", value: { baseTypeName: asked.value, extensionNumber } };
      }
      case undefined:
        return errorAnswer(Code.InvalidArgument, "the request asks for nothing");
    }
  }

  const v1: Implementation<typeof ServerReflection> = {
    serverReflectionInfo: streamCall(policy, (requests, context) => answerAll(requests, context.signal), {
      always: true,
    }),
  };
  // The compiler cannot see that the messages are the same but for their package.
  return { v1, v1alpha: v1 as unknown as Implementation<typeof ServerReflectionV1Alpha> };
}

/** The file asked for is sent even if it was sent before; of what it imports, only what was not. */
function filesAnswer(files: IndexedFile[] | undefined, sent: Set<string>, what: string): Answer {
  if (files === undefined) return errorAnswer(Code.NotFound, `no ${what}`);
  const fresh = files.filter((file, position) => position === 0 || !sent.has(file.name));
  for (const file of fresh) sent.add(file.name);
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto: fresh.map((file) => file.bytes) } };
}

function errorAnswer(errorCode: Code, errorMessage: string): Answer {
  return { case: "errorResponse", value: { errorCode, errorMessage } };
}
