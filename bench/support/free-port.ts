/** A port of 127.0.0.1 that the system has just had free: for peers that take none that the system picks for them. */
import { once } from "node:events";
import { createServer } from "node:net";

/** It is free until somebody else takes it. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
