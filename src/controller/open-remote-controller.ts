/** Opening a controller whose tasks are run by the runners that connect to it. */
import type { PhaseEnd, TaskWrite } from "#gen/stint/v1/runner_pb.js";
import { RunPhase } from "#gen/stint/v1/runner_pb.js";
import { checkTaskId } from "../task/ids.ts";
import { isEnded } from "../task/state.ts";
import type { HostCore } from "./core.ts";
import { ControllerError, type FieldViolation } from "./error.ts";
import { KeptEnds } from "./kept-ends.ts";
import { type CoreOptions, openCore } from "./open-controller.ts";
import type { Parts } from "./parts.ts";
import { RejectedWrites } from "./rejected-writes.ts";
import { RemoteHost } from "./remote-host.ts";
import type { RemoteController, RemoteOptions } from "./remote-link.ts";
import type { ActorEntry } from "./task-actor.ts";

/** What a controller with remote runners is opened with. */
export interface RemoteControllerOptions extends CoreOptions {
  readonly remote: RemoteOptions;
}

/**
 * Opens a controller whose tasks are run by those who connect (docs/protocol.md): `runners.attach` takes their streams. Tasks that
 * they had are theirs until their leases, which begin anew, are over. Otherwise as openController.
 */
export async function openRemoteController(options: RemoteControllerOptions): Promise<RemoteController> {
  const hosts: RemoteHost[] = [];
  const controller = await openCore(options, {
    isRetired: false,
    complaints: () => complaintsOf(options.remote),
    createHost: (core, parts) => {
      const host = createRemoteHost(core, parts, options.remote);
      hosts.push(host);
      return host;
    },
  });
  const [runners] = hosts;
  if (runners === undefined) throw new Error("an open controller has a host");
  runners.open();
  return { ...controller, runners };
}

function complaintsOf(options: RemoteOptions): FieldViolation[] {
  const { leaseMs, runnersMax, runnerCapacityMax } = options;
  return Object.entries({ leaseMs, runnersMax, runnerCapacityMax }).flatMap(([name, value]) =>
    value > 0 ? [] : [{ field: `remote.${name}`, description: "must be a number, more than 0" }],
  );
}

function createRemoteHost(core: HostCore, parts: () => Parts, remote: RemoteOptions): RemoteHost {
  const { name, clock, faults, guard, limits } = core;
  let rejected: RejectedWrites | undefined;
  let kept: KeptEnds | undefined;
  // The parts are made after the host, and looked at when they are needed.
  return new RemoteHost(
    { ...remote, name, clock, faults, guard, activeMax: limits.activeMax },
    {
      isOnDisk: (said) => isOnDisk(parts(), said),
      noteRejected: (refused, runner) => {
        rejected ??= new RejectedWrites(parts().core, parts().actors);
        return rejected.note(refused, runner);
      },
      onTeller: () => {
        kept ??= new KeptEnds(parts());
        kept.tell();
      },
    },
  );
}

/**
 * Whether what a runner says under a fence that none of its runs has is on disk, as it was said before and the answer was lost;
 * undefined where the controller has closed. Looked at in the task's turn, so after what is being committed.
 */
async function isOnDisk({ actors, core }: Parts, said: TaskWrite | PhaseEnd): Promise<boolean | undefined> {
  if (checkTaskId(said.taskId) !== undefined) return false;
  try {
    return await actors.use(said.taskId, (actor) =>
      actor.serialize(async () => says(await actor.load("until-done"), said)),
    );
  } catch (error) {
    if (core.lifetime.isOver) return undefined;
    if (error instanceof ControllerError && error.code === "DATA_LOSS") return false;
    core.faults.note(
      "background_errors",
      { err: error, taskId: said.taskId },
      "what a runner said again could not be looked up",
    );
    return undefined;
  }
}

/** The record of the task says that this was said: under the fence that somebody had last, or, of its end, that somebody was told. */
function says({ task, revision }: ActorEntry, said: TaskWrite | PhaseEnd): boolean {
  if (task === undefined) return false;
  const { record, status } = task;
  if (said.$typeName === "stint.v1.PhaseEnd" && said.phase === RunPhase.COMPLETED) {
    const endRevision = record.isTransition ? revision : record.previousTransitionRevision;
    return isEnded(status.state) && said.fence === endRevision;
  }
  return said.fence === record.endFence && said.seq <= record.endSeq;
}
