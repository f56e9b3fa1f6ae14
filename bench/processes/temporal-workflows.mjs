// What Temporal's worker runs: an activity is what a task is here, and a workflow is what starts one.
import { proxyActivities } from "@temporalio/workflow";

const { nothing } = proxyActivities({ startToCloseTimeout: "1 minute" });

export async function task() {
  await nothing();
}
