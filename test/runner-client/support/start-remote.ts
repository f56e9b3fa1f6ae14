import {
  type RemoteRunner,
  runRemote,
  type RunRemoteOptions,
  type TaskRunner,
} from "../../../src/runner-client/run-remote.ts";
import type { FakeRunnerServer } from "../../support/fake-runner-server.ts";

/** A runner that is drained at the end of its scope. */
export function start(
  server: FakeRunnerServer,
  runner: TaskRunner,
  options: Partial<RunRemoteOptions> = {},
): RemoteRunner {
  return runRemote({
    target: server.address,
    controller: "steps",
    capacity: 3,
    runner,
    signals: [],
    drainMs: 0,
    ...options,
  });
}
