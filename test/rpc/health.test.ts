import { createClient } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "#gen/grpc/health/v1/health_pb.js";
import { callError } from "../support/call-error.ts";
import { serveFake } from "../support/served-fake.ts";

const service = "stint.v1.TaskControllerService";

describe("health", () => {
  test.each(["", service])("of %j follows the server: starting, serving, a store that fails", async (name) => {
    await using served = await serveFake({ starting: true });
    const health = createClient(Health, served.transport());
    const check = async () => (await health.check({ service: name })).status;
    expect(await check()).toBe(ServingStatus.NOT_SERVING);
    served.availability.enter("serving");
    expect(await check()).toBe(ServingStatus.SERVING);
    served.availability.setStoreHealthy(false);
    expect(await check()).toBe(ServingStatus.NOT_SERVING);
    served.availability.setStoreHealthy(true);
    expect(await check()).toBe(ServingStatus.SERVING);
  });

  test("of an unknown service is NOT_FOUND, and in a watch SERVICE_UNKNOWN", async () => {
    await using served = await serveFake();
    const health = createClient(Health, served.transport());
    expect(await callError(health.check({ service: "x.Y" }))).toMatchObject({ code: "NotFound" });
    for await (const { status } of health.watch({ service: "x.Y" })) {
      expect(status).toBe(ServingStatus.SERVICE_UNKNOWN);
      break;
    }
  });

  test("lists what is known", async () => {
    await using served = await serveFake();
    const { statuses } = await createClient(Health, served.transport()).list({});
    expect(Object.keys(statuses).sort()).toEqual(["", "stint.v1.StoreService", service, "stint.v1.TaskRunnerService"]);
    expect(statuses[service]?.status).toBe(ServingStatus.SERVING);
  });

  test("is watched: each change once, NOT_SERVING last, then UNAVAILABLE when the server drains", async () => {
    await using served = await serveFake();
    const seen: ServingStatus[] = [];
    const watch = async () => {
      for await (const { status } of createClient(Health, served.transport()).watch({ service })) {
        seen.push(status);
        if (seen.length === 1) served.availability.setStoreHealthy(false);
        if (seen.length === 2) served.availability.setStoreHealthy(true);
        if (seen.length === 3) served.availability.enter("draining");
      }
    };
    expect(await callError(watch())).toMatchObject({ code: "Unavailable", reason: "DRAINING" });
    const { SERVING, NOT_SERVING } = ServingStatus;
    expect(seen).toEqual([SERVING, NOT_SERVING, SERVING, NOT_SERVING]);
  });

  test("is answered to a client that draining has caught", async () => {
    await using served = await serveFake();
    served.availability.enter("draining");
    const { status } = await createClient(Health, served.transport()).check({});
    expect(status).toBe(ServingStatus.NOT_SERVING);
  });
});
