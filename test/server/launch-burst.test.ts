/** Many launches that arrive in one moment: what else there is goes on between them. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { LaunchTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { callHeaders, endHeaders, endStream, frame, FrameSocket, frameType } from "../support/raw-frames.ts";
import { envelope } from "../support/raw-http.ts";
import { type ServedFake, serveFake } from "../support/served-fake.ts";

/** As many as the server reads from a connection at once. */
const launches = 300;

/** Sends them all at once, with what is to come behind them, when the server is ready for more than a first call. */
async function sendBurst(served: ServedFake, behind: readonly Buffer[] = []): Promise<FrameSocket> {
  await served.client().launchTask({ controller: "countdown", taskId: "first" });
  const headers = callHeaders("/stint.v1.TaskControllerService/LaunchTask");
  const calls = Array.from({ length: launches }, (_, i) => {
    const request = create(LaunchTaskRequestSchema, { controller: "countdown", taskId: `t${i}` });
    const body = envelope(toBinary(LaunchTaskRequestSchema, request));
    const stream = 2 * i + 1;
    return [frame(frameType.headers, endHeaders, stream, headers), frame(frameType.data, endStream, stream, body)];
  });
  const socket = new FrameSocket(served.port);
  await socket.send(...calls.flat(), ...behind);
  return socket;
}

test("launches of a burst are begun in many turns of the event loop, so that others have theirs", async () => {
  await using served = await serveFake();
  const socket = await sendBurst(served);
  const { controller } = served;
  const inOneTurn: number[] = [];
  for (let before = 1; before < launches + 1; before = controller.callCount) {
    await nextTurn();
    inOneTurn.push(controller.callCount - before);
  }
  expect(Math.max(...inOneTurn)).toBeLessThan(launches);
  socket.destroy();
});

test("a launch whose client has left before its turn is not begun", async () => {
  await using served = await serveFake();
  const cancel = Buffer.from([0, 0, 0, 8]);
  const resets = Array.from({ length: launches }, (_, i) => frame(frameType.rstStream, 0, 2 * i + 1, cancel));
  const socket = await sendBurst(served, resets);
  const { controller } = served;
  // The calls that others make behind it are begun, so its own would have been.
  const other = served.client();
  for (let i = 0; i < 3; i += 1) await other.launchTask({ controller: "countdown", taskId: `other${i}` });
  expect(controller.callCount).toBeLessThan(launches);
  socket.destroy();
});
