// The client of all loads: grpc-js over the generated messages, one connection.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Client, credentials } from "@grpc/grpc-js";
import { TaskControllerService } from "#gen/stint/v1/controller_pb.js";

/** A client of the server at `address`, with a connection of its own. */
export function connectTo(address) {
  return new Client(address, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.max_receive_message_length": 32 << 20,
  });
}

const parts = Object.fromEntries(
  TaskControllerService.methods.map((method) => [
    method.localName,
    {
      path: `/${TaskControllerService.typeName}/${method.name}`,
      serialize: (message) => Buffer.from(toBinary(method.input, create(method.input, message))),
      deserialize: (bytes) => fromBinary(method.output, bytes),
    },
  ]),
);

/** A unary call, by the local name of its method. */
export function call(client, name, request) {
  const { path, serialize, deserialize } = parts[name];
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(path, serialize, deserialize, request, (error, answer) =>
      error ? reject(error) : resolve(answer),
    );
  });
}

/** A streaming call. */
export function stream(client, name, request) {
  const { path, serialize, deserialize } = parts[name];
  return client.makeServerStreamRequest(path, serialize, deserialize, request);
}
