import { LaunchOutcome } from "#gen/stint/v1/controller_pb.js";
import type * as Domain from "../controller/controller.ts";

/** What a launch did, as the service says it. */
export const launchOutcomes: Readonly<Record<Domain.LaunchOutcome, LaunchOutcome>> = {
  launched: LaunchOutcome.LAUNCHED,
  restarted: LaunchOutcome.RESTARTED,
  "used-existing": LaunchOutcome.USED_EXISTING,
};
