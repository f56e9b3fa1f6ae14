/** A controller with remote runners, whose streams are in the hands of the test. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type RunnerHelloSchema, RunPhase, type TaskOffer } from "#gen/stint/v1/runner_pb.js";
import { FakeLink, helloOf } from "./fake-link.ts";
import { type Harness, type HarnessOptions, openHarness } from "./controller-harness.ts";

export const leaseMs = 16_000;

export const remoteOptions = { leaseMs, runnersMax: 1_000, runnerCapacityMax: 1_000 };

export function openRemoteHarness(options: HarnessOptions = {}): Promise<Harness> {
  return openHarness({ remote: remoteOptions, ...options });
}

export function connect(h: Harness, name: string, hello: MessageInitShape<typeof RunnerHelloSchema> = {}): FakeLink {
  return new FakeLink().attach(h.runners, helloOf(name, hello));
}

/** The offer that the link has got, when it has; the last of them. */
export async function offerOf(h: Harness, link: FakeLink, taskId: string, phase: RunPhase): Promise<TaskOffer> {
  await h.settle();
  const offer = link.offers.filter((each) => each.taskId === taskId && each.phase === phase).at(-1);
  if (offer === undefined) throw new Error(`${taskId} was not offered in phase ${RunPhase[phase]}`);
  return offer;
}

/** Launches a task that the runner of the link then has in its second phase; its PENDING was seq 1. */
export async function runningOn(h: Harness, link: FakeLink, taskId: string): Promise<TaskOffer> {
  await h.launch(taskId);
  const pending = await offerOf(h, link, taskId, RunPhase.PENDING);
  void link.accept(pending);
  void link.end(pending, RunPhase.PENDING);
  const running = await offerOf(h, link, taskId, RunPhase.RUNNING);
  void link.accept(running, RunPhase.RUNNING);
  link.take();
  return running;
}

/** Time passes, in which the runners of the links say that they are alive. */
export async function passAlive(h: Harness, ms: number, ...links: FakeLink[]): Promise<void> {
  for (let leftMs = ms; leftMs > 0; leftMs -= 1_000) {
    await h.clock.advance(Math.min(leftMs, 1_000));
    for (const link of links) link.beAlive();
    await h.settle();
    for (const link of links)
      link.told.splice(0, link.told.length, ...link.told.filter((each) => !each.startsWith("keepalive")));
  }
}
