import { expect, test } from "vitest";
import { RunPhase } from "#gen/stint/v1/runner_pb.js";
import { Outbox } from "../../src/runner-client/outbox.ts";
import type { ToSession } from "../../src/runner-client/thread-messages.ts";

function openOutbox() {
  const sent: string[] = [];
  const outbox = new Outbox((messages) => void sent.push(messages.map(({ type }) => type).join(" ")));
  return { outbox, sent };
}

const accept: ToSession = { type: "accept", fence: 1n, phase: RunPhase.PENDING };
const drain: ToSession = { type: "drain" };
const stop: ToSession = { type: "stop" };

test("what is said in one go is sent together", async () => {
  const { outbox, sent } = openOutbox();
  outbox.post(drain);
  outbox.post(stop);
  expect(sent).toEqual([]);
  await Promise.resolve();
  expect(sent).toEqual(["drain stop"]);
  outbox.post(drain);
  await Promise.resolve();
  expect(sent).toEqual(["drain stop", "drain"]);
});

test("an acceptance goes out at once, behind what was said before it", async () => {
  const { outbox, sent } = openOutbox();
  outbox.post(drain);
  outbox.post(accept);
  expect(sent).toEqual(["drain accept"]);
  outbox.post(stop);
  await Promise.resolve();
  await Promise.resolve();
  expect(sent).toEqual(["drain accept", "stop"]);
});
