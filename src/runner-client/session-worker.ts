/**
 * The thread of a runner's session, which has its connection. A handler that blocks its own thread, however long, does not block
 * this one: keepalives go on, and the lease with them.
 */
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { nextTurn } from "../async/next-turn.ts";
import { systemClock } from "../clock.ts";
import { systemRandom } from "../random.ts";
import { createGrpcConnect } from "./grpc-connection.ts";
import { Session } from "./session.ts";
import type { SessionSettings, ToHandlers, ToSession } from "./thread-messages.ts";

const settings = workerData as SessionSettings;
const port = parentPort;
if (port === null) throw new Error("this module is the start of a worker thread");
const takenAtOnceMax = 1_000;
let told: ToHandlers[] = [];

/** What the handlers are told in one turn goes to them together: each message to a thread costs both a copy, and a wake-up. */
function post(message: ToHandlers): void {
  told.push(message);
  if (told.length > 1) return;
  void nextTurn().then(() => {
    port?.postMessage(told);
    told = [];
  });
}

const session = new Session(settings, {
  connect: createGrpcConnect(settings.target, settings.ca),
  clock: systemClock,
  random: systemRandom,
  post,
});
const take = (messages: readonly ToSession[]): void => {
  for (const message of messages) session.receive(message);
};
port.on("message", (first: readonly ToSession[]) => {
  take(first);
  // What else is there, without an event for each; no more than that, as it may be said as fast as it is taken.
  for (let i = 0; i < takenAtOnceMax; i += 1) {
    const next = receiveMessageOnPort(port);
    if (next === undefined) break;
    take(next.message as readonly ToSession[]);
  }
});
session.start();
