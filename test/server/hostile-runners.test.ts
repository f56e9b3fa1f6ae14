/** Runners that keep to nothing, each beside an honest one that notices little of it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { RunPhase, type TaskOffer } from "#gen/stint/v1/runner_pb.js";
import { StateCompleted } from "../../src/task/state.ts";
import { eventually } from "../support/eventually.ts";
import { RawRunner } from "../support/raw-runner.ts";
import { repositoryRoot } from "../support/served-process.ts";
import type { HostileArguments } from "./support/hostile-process.ts";
import { attacks } from "./support/hostile-runners.ts";
import { openDirectory, type Started } from "./support/remote-server.ts";

/** How long each goes on. */
const attackMs = Number(process.env["HOSTILE_RUNNER_MS"] ?? 1_500);
const growthMaxBytes = 250 * 1024 * 1024;

/** Lets the attack go on in a process of its own. */
class Attack implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #exited: Promise<unknown>;
  #said = "";

  constructor(name: string, address: string, { taskId, fence }: TaskOffer) {
    const file = fileURLToPath(new URL("./support/hostile-process.ts", import.meta.url));
    const given: HostileArguments = { address, name, taskId, fence: String(fence), forMs: attackMs };
    const args = ["--import", "tsx", file, JSON.stringify(given)];
    this.#process = spawn(process.execPath, args, { cwd: repositoryRoot, stdio: ["ignore", "pipe", "inherit"] });
    this.#process.stdout?.on("data", (data: Buffer) => (this.#said += data.toString()));
    this.#exited = once(this.#process, "exit");
  }

  /** Resolves when it has begun. */
  async begun(): Promise<void> {
    await eventually(() => expect(this.#said).toContain("ready"), 30_000);
  }

  /** Resolves to how much it has done, when it is over. */
  async count(): Promise<number> {
    await this.#exited;
    return Number(this.#said.split("\n")[1]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#exited;
  }
}

/** An honest runner with a task that runs. */
class Honest {
  readonly runner: RawRunner;
  readonly offer: TaskOffer;
  #writes = 0;

  constructor(runner: RawRunner, offer: TaskOffer) {
    this.runner = runner;
    this.offer = offer;
  }

  static async start({ address, launch }: Started): Promise<Honest> {
    const runner = await RawRunner.connect(address, { runner: "honest", capacity: 1 });
    await launch("work");
    const offer = await runner.takeOffer("work");
    await runner.prepare(offer);
    return new Honest(runner, offer);
  }

  get writes(): number {
    return this.#writes;
  }

  /** Writes one after the other until then; resolves to the time that 99 of 100 took at most, in ms. */
  async p99(untilMs: number): Promise<number> {
    const times: number[] = [];
    while (performance.now() < untilMs) {
      const since = performance.now();
      this.#writes += 1;
      const said = { current: this.#writes, entries: [`entry ${this.#writes}`] };
      await this.runner.written(this.offer, this.runner.write(this.offer, said));
      times.push(performance.now() - since);
      await sleep(2);
    }
    times.sort((a, b) => a - b);
    return times[Math.floor(times.length * 0.99)] ?? Infinity;
  }
}

describe("a runner that", { timeout: 60_000 + 4 * attackMs }, () => {
  test.each(attacks.map(([name, countMin]) => [name, countMin] as const))("%s harms nobody", async (name, countMin) => {
    await using directory = await openDirectory();
    await using started = await directory.start();
    const honest = await Honest.start(started);
    await honest.p99(performance.now() + 300);
    const alone = await honest.p99(performance.now() + attackMs);
    const before = process.memoryUsage().rss;
    await using attack = new Attack(name, started.address, honest.offer);
    await attack.begun();
    const beside = await honest.p99(performance.now() + attackMs);
    const count = await attack.count();
    expect(beside).toBeLessThan(10 * alone + 500);
    expect(count).toBeGreaterThanOrEqual(countMin);
    expect(process.memoryUsage().rss - before).toBeLessThan(growthMaxBytes);
    const { offer, runner } = honest;
    expect(await started.status("work")).toMatchObject({ attempt: 1, progress: { current: BigInt(honest.writes) } });
    await runner.written(offer, runner.end(offer, RunPhase.RUNNING, { case: "done", value: { result: '"honest"' } }));
    expect(await started.status("work")).toMatchObject({ state: StateCompleted, result: '"honest"' });
    await runner.break();
  });

  test("takes nothing that it is offered costs a task its time now and then, and the honest one does the work", {
    timeout: 120_000,
  }, async () => {
    await using directory = await openDirectory({ limits: { leaseMs: 5_000 } });
    await using started = await directory.start();
    await using hostile = await RawRunner.connect(started.address, { runner: "hostile", capacity: 1_000 });
    await using honest = await RawRunner.connect(started.address, { runner: "honest", capacity: 2 });
    const alive = setInterval(() => {
      hostile.beAlive();
      honest.beAlive();
    }, 500);
    const ids = Array.from({ length: 40 }, (_, i) => `t${i}`);
    await Promise.all(ids.map((id) => started.launch(id)));
    for (const _ of ids) {
      const offer = await honest.take("offer", ({ phase }) => phase === RunPhase.PENDING, 60_000);
      await honest.prepare(offer);
      await honest.written(offer, honest.end(offer, RunPhase.RUNNING));
    }
    clearInterval(alive);
    const statuses = await Promise.all(ids.map((id) => started.status(id)));
    expect(statuses.every((status) => status?.state === StateCompleted && status.runner === "honest")).toBe(true);
    const lapsed = statuses.reduce((sum, status) => sum + (status?.attempt ?? 0) - 1, 0);
    expect(lapsed).toBeGreaterThanOrEqual(1);
    expect(lapsed).toBeLessThanOrEqual(10);
  });
});
