/** Seats of a remote host without a controller: the test decides when what is said is on disk, and when a phase's end is. */
import { create } from "@bufbuild/protobuf";
import { ProgressSchema, type TaskCancel, TaskState, type TaskStatus, TaskStatusSchema } from "#gen/core/v1/core_pb.js";
import type { PhaseEnd, TaskWrite } from "#gen/stint/v1/runner_pb.js";
import type { HostedTask, RunWrite, Seat } from "../../src/controller/host.ts";
import { JsonText } from "../../src/json-text.ts";
import { type PhaseName, SeatLost } from "../../src/controller/phase.ts";
import { RemoteHost, type RemoteHostOptions } from "../../src/controller/remote-host.ts";
import type { RefusedMessage } from "../../src/controller/remote-holder.ts";
import { createStoreGuard } from "../../src/controller/store-guard.ts";
import { openMemoryStore } from "../../src/store/memory.ts";
import { Faults } from "../../src/faults.ts";
import { type AbortKind, AbortReason } from "../../src/task/abort.ts";
import { createFakeClock, type FakeClock } from "./fake-clock.ts";

export const leaseMs = 16_000;

export class HostWorld {
  readonly clock: FakeClock = createFakeClock();
  readonly faults = new Faults({ clock: this.clock });
  readonly rejected: RefusedMessage[] = [];
  readonly host: RemoteHost;
  /** How often a seat came free, and ends could be told that could not before. */
  seats = 0;
  tellers = 0;
  isServing = true;
  /** What is on disk though no run is there that has said it. */
  isOnDisk = (_: TaskWrite | PhaseEnd): boolean | undefined => false;
  #fences = 0n;

  constructor(host: (world: HostWorld) => RemoteHost) {
    this.host = host(this);
    this.host.onSeat(() => (this.seats += 1));
    this.host.open();
  }

  /** Offers a task to whoever is its turn; undefined when nobody is. */
  offer(taskId: string): HostedRun | undefined {
    const seat = this.host.takeSeat();
    if (seat === undefined) return undefined;
    this.#fences += 1n;
    return new HostedRun(seat, { taskId, fence: this.#fences });
  }

  /** Tells of the end of a task, whose commit had the revision. */
  tell(taskId: string, revision: bigint, seat?: Seat): Promise<"told" | "kept"> {
    const status = create(TaskStatusSchema, { runId: "r", attempt: 2, state: TaskState.Completed });
    const run = { taskId, writtenSeq: 0n, cancel: undefined, loadStatus: async () => status };
    const task = run as Partial<HostedTask> as HostedTask;
    return this.host.tellEnd({ task, status, fence: 1n, endRevision: revision, seat });
  }

  /** As after a restart of the server. */
  recall(taskId: string, fence: bigint, instance: string, from: { phase: PhaseName; writtenSeq?: bigint }): HostedRun {
    const instanceId = instance.padEnd(16, "-");
    const seat = this.host.recall({ taskId, runId: "r", attempt: 1, fence, instanceId, runner: instance });
    if (seat === undefined) throw new Error("it was not recalled");
    return new HostedRun(seat, { taskId, fence, ...from });
  }
}

export async function createHostWorld(options: Partial<RemoteHostOptions> = {}): Promise<HostWorld> {
  const store = await openMemoryStore();
  return new HostWorld(
    (world) =>
      new RemoteHost(
        {
          name: "tests",
          clock: world.clock,
          faults: world.faults,
          guard: createStoreGuard({ store, clock: world.clock }),
          activeMax: 10_000,
          leaseMs,
          runnersMax: 1_000,
          runnerCapacityMax: 1_000,
          isServing: () => world.isServing,
          ...options,
        },
        {
          isOnDisk: async (said) => world.isOnDisk(said),
          noteRejected: (refused) => {
            world.rejected.push(refused);
            return undefined;
          },
          onTeller: () => (world.tellers += 1),
        },
      ),
  );
}

/** A run that sits on a seat, as the controller has it. */
export class HostedRun {
  readonly seat: Seat;
  readonly taskId: string;
  readonly fence: bigint;
  /** What was said and is to be stored, in order. */
  readonly writes: Array<RunWrite & { stored: () => void; refused: (error: unknown) => void }> = [];
  /** How the phases ended: "returned undefined", "threw Error: x", "aborted CANCEL", "lost: why". */
  readonly settled: string[] = [];
  cancel: TaskCancel | undefined;
  #abort = new AbortController();
  #kind: AbortKind | undefined;
  readonly #writtenSeq: bigint;

  constructor(
    seat: Seat,
    { taskId, fence, phase, writtenSeq }: { taskId: string; fence: bigint; phase?: PhaseName; writtenSeq?: bigint },
  ) {
    this.seat = seat;
    this.taskId = taskId;
    this.fence = fence;
    this.#writtenSeq = writtenSeq ?? 0n;
    this.run(phase ?? "pending");
  }

  run(phase: PhaseName): void {
    const { signal } = this.#abort;
    const context = { signal, phaseAbort: this.#abort, kind: this.#kind, attempt: 1, runId: "r", fence: this.fence };
    Promise.resolve(this.seat.runPhase(phase, this.#task(), context)).then(
      (value) => this.settled.push(`returned ${value instanceof JsonText ? value.text : String(value)}`),
      (thrown: unknown) => this.settled.push(describe(thrown)),
    );
  }

  abort(kind: AbortKind): void {
    this.#kind = kind;
    this.#abort.abort(new AbortReason(kind));
    this.seat.stopFor(kind);
  }

  /** All that was said is on disk. */
  storeAll(): void {
    for (const { stored } of this.writes.splice(0)) stored();
  }

  #task(): HostedTask {
    const status: TaskStatus = create(TaskStatusSchema, { metadata: "{}", progress: create(ProgressSchema, {}) });
    const write = (said: RunWrite): Promise<void> =>
      new Promise((stored, refused) => this.writes.push({ ...said, stored, refused }));
    const run = this;
    return {
      taskId: this.taskId,
      writtenSeq: this.#writtenSeq,
      get cancel() {
        return run.cancel;
      },
      loadStatus: async () => status,
      write,
      active: {} as HostedTask["active"],
    };
  }
}

function describe(thrown: unknown): string {
  if (thrown instanceof SeatLost) return `${thrown.kind}: ${thrown.message}`;
  if (thrown instanceof AbortReason) return `aborted ${thrown.kind}`;
  const { taskError } = thrown as { taskError?: { code: number; message: string } };
  return `failed ${taskError?.code}: ${taskError?.message}`;
}
