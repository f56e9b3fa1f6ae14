import { RunnerKind } from "#gen/stint/v1/controller_pb.js";
import type { TaskRunner } from "../controller/task-runner.ts";
import type { Commands } from "../runner/commands.ts";
import { createExecRunner } from "../runner/exec-runner.ts";
import { resolveCommand } from "../runner/resolve-command.ts";
import type { RunnerConfig } from "./config.ts";
import { ServerError } from "./error.ts";
import { loadRunner } from "./load-runner.ts";

/** Who runs the tasks of a controller that the configuration names. */
export type ConfiguredRunner = HostedRunner | { readonly kind: RunnerKind.REMOTE };

/** A runner that the server hosts, as its configuration has it. */
export interface HostedRunner {
  readonly kind: RunnerKind.MODULE | RunnerKind.EXEC;
  /** How many tasks run at one time where the configuration does not say; undefined is as many as there may be. */
  readonly concurrency?: number;
  readonly create: (commands: Commands) => TaskRunner;
}

/** Each is a process or more: a forgotten setting must not become ten thousand. */
const commandsAtOnce = 64;

/** Loads the module, or finds the command, of a controller. Throws ServerError RUNNER. */
export async function prepareRunner(
  controller: string,
  { module, exec, remote }: RunnerConfig,
  env: Readonly<Record<string, string | undefined>>,
): Promise<ConfiguredRunner> {
  if (remote !== undefined) return { kind: RunnerKind.REMOTE };
  if (module !== undefined) {
    const runner = await loadRunner(module);
    return { kind: RunnerKind.MODULE, create: () => runner };
  }
  if (exec === undefined) throw new ServerError("RUNNER", `the controller "${controller}" has no runner`);
  try {
    const command = await resolveCommand(exec, env);
    return {
      kind: RunnerKind.EXEC,
      concurrency: commandsAtOnce,
      create: (commands) => createExecRunner({ controller, command, commands }),
    };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ServerError("RUNNER", `the controller "${controller}" cannot run its tasks: ${why}`, error);
  }
}
