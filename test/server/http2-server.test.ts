import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { expect, test } from "vitest";
import { Faults } from "../../src/faults.ts";
import { silentLog } from "../../src/log.ts";
import { Http2Connections } from "../../src/server/http2-server.ts";
import { defaultServerLimits } from "../../src/server/limits.ts";
import type { RequestListener } from "../../src/server/request-listener.ts";
import { createFakeClock } from "../support/fake-clock.ts";

test("a connection over TLS that speaks HTTP/2 without having said so there leaves nothing for the next one", async () => {
  const clock = createFakeClock();
  const requests = {} as unknown as RequestListener;
  const http2 = new Http2Connections({
    requests,
    limits: defaultServerLimits,
    clock,
    log: silentLog,
    faults: new Faults(),
  });
  const net = createServer();
  net.listen(0, "127.0.0.1");
  await once(net, "listening");
  const { port } = net.address() as AddressInfo;
  const accept = async (isWithoutAlpn: boolean): Promise<Socket> => {
    const client = connect(port, "127.0.0.1");
    const [socket] = (await once(net, "connection")) as [Socket];
    for (const each of [client, socket]) each.on("error", () => {});
    // As a socket of TLS has it: Node refuses it, and makes no session.
    if (isWithoutAlpn) Object.assign(socket, { alpnProtocol: false });
    http2.accept(socket);
    return client;
  };
  const clients = [await accept(true), await accept(true), await accept(false)];
  // Those of one guard: for the first call, and for the ping.
  expect(clock.pending()).toBe(2);
  for (const client of clients) client.destroy();
  net.close();
  await once(net, "close");
});
