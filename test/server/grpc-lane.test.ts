import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { Health } from "#gen/grpc/health/v1/health_pb.js";
import { Faults } from "../../src/faults.ts";
import { createAvailability } from "../../src/rpc/availability.ts";
import { createHandlers, route } from "../../src/rpc/handlers.ts";
import { createHealthService } from "../../src/rpc/health.ts";
import { createStreamSlots } from "../../src/rpc/stream-slots.ts";
import { GrpcLane } from "../../src/server/grpc-lane.ts";
import { defaultLimits } from "../../src/server/limits.ts";
import { ByteBudget } from "../../src/server/request-body.ts";
import { eventually } from "../support/eventually.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { grpcHeaders, http2Request } from "../support/raw-http.ts";

test("the deadline of a call counts from when it came, also while it gives way to others", async () => {
  const clock = createFakeClock();
  const faults = new Faults();
  const service = createHealthService(
    { availability: createAvailability(), faults, streams: createStreamSlots(1) },
    [],
  );
  const methods = createHandlers([route(Health, service, { givingWay: ["check"] })], defaultLimits);
  const came: Array<() => void> = [];
  const giveWay = () => new Promise<void>((resolve) => void came.push(resolve));
  const lane = new GrpcLane({
    methods,
    limits: defaultLimits,
    budget: new ByteBudget(1_000, faults),
    clock,
    faults,
    giveWay,
  });
  const server = createServer().listen(0, "127.0.0.1");
  server.on(
    "stream",
    (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, _flags: number, rawHeaders: string[]) => {
      const method = lane.find(headers, rawHeaders);
      if (method !== undefined) lane.handle(method, stream, headers);
    },
  );
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const ask = (timeout: string) =>
    http2Request(port, { ...grpcHeaders, ":path": "/grpc.health.v1.Health/Check", "grpc-timeout": timeout });
  const [short, long] = [ask("50m"), ask("200m")];
  await eventually(() => expect(came).toHaveLength(2));
  await clock.advance(100);
  for (const goOn of came) goOn();
  let statuses: unknown[] = [];
  void Promise.all([short, long]).then((answers) => (statuses = answers.map(({ grpcStatus }) => grpcStatus)));
  while (statuses.length === 0) await clock.advance(0);
  expect(statuses).toEqual([Code.DeadlineExceeded, 0]);
  server.close();
});
