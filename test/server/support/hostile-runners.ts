/** Runners that keep to nothing. */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type HeldTaskSchema, RunPhase, RunRequestSchema, type TaskOffer } from "#gen/stint/v1/runner_pb.js";
import { RawRunner } from "../../support/raw-runner.ts";

type Said = Exclude<MessageInitShape<typeof RunRequestSchema>["message"], undefined>;

/** What an attack has to do with. */
export interface Scene {
  readonly address: string;
  /** The task of the honest one, whose fence is known somehow. */
  readonly target: Pick<TaskOffer, "taskId" | "fence">;
  readonly untilMs: number;
}

/** Attacks until its time is over; resolves to how many messages or streams that were. */
type Attack = (scene: Scene) => Promise<number>;

function bytesOf(message: Said): Uint8Array {
  return toBinary(RunRequestSchema, create(RunRequestSchema, { message }));
}

/** Says `next` over and over, as fast as it is taken, on new streams where one is ended. */
async function flood(scene: Scene, next: (i: number) => Uint8Array, options: { reads: boolean }): Promise<number> {
  let count = 0;
  while (performance.now() < scene.untilMs) {
    const runner = await RawRunner.connect(scene.address, { runner: "hostile", capacity: 1_000 });
    if (!options.reads) runner.pause();
    while (!runner.isOver && performance.now() < scene.untilMs) {
      const said = Array.from({ length: 50 }, (_, i) => runner.sayBytes(next(count + i)));
      count += said.length;
      await Promise.race([Promise.all(said), runner.ended, sleep(200)]);
      runner.takeAll();
    }
    await runner.break();
  }
  return count;
}

/** Opens streams one after the other that say this, each until the server ends it. */
async function streams({ address, untilMs }: Scene, say: (runner: RawRunner) => Promise<unknown>): Promise<number> {
  let count = 0;
  while (performance.now() < untilMs) {
    const runner = new RawRunner(address);
    await say(runner);
    await Promise.race([runner.ended, sleep(500)]);
    await runner.break();
    count += 1;
  }
  return count;
}

function helloWith(held: MessageInitShape<typeof HeldTaskSchema>[]): Uint8Array {
  const instanceId = "hostile-0123456789abcdef";
  const hello = { controller: "remote", runner: "hostile", instanceId, capacity: 1_000, protocolVersion: 1, held };
  return bytesOf({ case: "hello", value: hello });
}

function staleWrite({ target }: Scene, i: number): Said {
  const { taskId } = target;
  return { case: "write", value: { taskId, fence: BigInt(i + 1_000), seq: 1n, entries: [{ msg: "mine", level: 0 }] } };
}

/** By what such a runner does: how much of it there is at least, and the attack. */
export const attacks: readonly (readonly [name: string, countMin: number, attack: Attack])[] = [
  ["sends garbage", 5, (scene) => streams(scene, (runner) => runner.sayBytes(randomBytes(500)))],
  [
    "sends garbage behind its hello",
    5,
    (scene) =>
      streams(scene, (runner) => {
        runner.hello({ runner: "hostile" });
        return runner.sayBytes(randomBytes(500));
      }),
  ],
  [
    "says hello with 10,000 tasks",
    3,
    (scene) => {
      const bytes = helloWith(
        Array.from({ length: 10_000 }, () => ({ taskId: "a", fence: 1n, phase: RunPhase.RUNNING })),
      );
      return streams(scene, (runner) => runner.sayBytes(bytes));
    },
  ],
  [
    "says hello with 2,000 tasks that are not its own",
    3,
    (scene) => {
      const { taskId } = scene.target;
      const fences = Array.from({ length: 2_000 }, (_, i) => BigInt(i));
      const bytes = helloWith(fences.map((fence) => ({ taskId, fence, phase: RunPhase.RUNNING })));
      return streams(scene, async (runner) => {
        void runner.sayBytes(bytes);
        await runner.take("welcome");
        runner.finish();
      });
    },
  ],
  [
    "floods with keepalives",
    1_000,
    (scene) => flood(scene, () => bytesOf({ case: "keepalive", value: { number: 1n } }), { reads: true }),
  ],
  [
    "floods with keepalives, and never reads",
    1_000,
    (scene) => flood(scene, () => bytesOf({ case: "keepalive", value: { number: 1n } }), { reads: false }),
  ],
  [
    "floods with writes under fences that it made up",
    1_000,
    (scene) => flood(scene, (i) => bytesOf(staleWrite(scene, i)), { reads: true }),
  ],
  [
    "floods with writes under fences that it made up, and never reads",
    1_000,
    (scene) => flood(scene, (i) => bytesOf(staleWrite(scene, i)), { reads: false }),
  ],
  [
    "floods with large writes under the honest one's fence",
    50,
    (scene) =>
      flood(
        scene,
        (i) => {
          const { taskId, fence } = scene.target;
          const entries = Array.from({ length: 7 }, () => ({ msg: "x".repeat(16 * 1024), level: 0 }));
          return bytesOf({ case: "write", value: { taskId, fence, seq: BigInt(i + 1), entries } });
        },
        { reads: true },
      ),
  ],
  [
    "ends the honest one's phase",
    1_000,
    (scene) =>
      flood(
        scene,
        (i) => {
          const { taskId, fence } = scene.target;
          const outcome = { case: "done" as const, value: { result: '"mine"' } };
          return bytesOf({
            case: "end",
            value: { taskId, fence, seq: BigInt(i + 1), phase: RunPhase.RUNNING, outcome },
          });
        },
        { reads: true },
      ),
  ],
  [
    "accepts offers that it never got",
    1_000,
    (scene) =>
      flood(
        scene,
        (i) => bytesOf({ case: "accept", value: { taskId: `t${i % 10}`, fence: BigInt(i), phase: RunPhase.PENDING } }),
        { reads: true },
      ),
  ],
];
