import { expect, test } from "vitest";
import { payloadKey } from "../../src/store/keys.ts";
import { controllerName, openHarness, refusal } from "../support/controller-harness.ts";

test.each(["metadata", "result"] as const)(
  "a task whose %s is missing is DATA_LOSS to who asks for that, and shown without it",
  async (payload) => {
    await using h = await openHarness();
    await h.launch("bad", { metadata: { text: "m".repeat(5_000) } });
    (await h.runner.phase("bad")).return("r".repeat(5_000));
    await h.settle();
    await h.disk.commit([{ type: "delete", key: payloadKey(controllerName, "bad", payload) }]);
    expect(await refusal(h.controller.taskStatus("bad"))).toMatchObject({ code: "DATA_LOSS" });
    const { status } = await h.controller.readTask("bad", { without: [payload] });
    expect(status.runId).not.toBe("");
    expect(await h.query()).toEqual(["bad"]);
    await h.controller.deleteTask("bad");
  },
);
