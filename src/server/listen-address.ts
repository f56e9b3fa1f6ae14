import { BlockList, isIPv6 } from "node:net";
import { ServerError } from "./error.ts";

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** "HOST:PORT", with an IPv6 address in brackets; an empty host is every interface. Throws ServerError OPTION. */
export function parseListenAddress(text: string): ListenAddress {
  const complaint = checkListenAddress(text);
  if (complaint !== undefined) throw new ServerError("OPTION", `listen ${complaint}`);
  const match = addressPattern.exec(text);
  const host = match?.[1] ?? match?.[2] ?? "";
  return { host: host === "" ? "::" : host, port: Number(match?.[3]) };
}

/** What is wrong with the text as HOST:PORT; undefined where nothing is. */
export function checkListenAddress(text: string): string | undefined {
  const match = addressPattern.exec(text);
  if (match !== null) {
    const port = Number(match[3]);
    return port <= 65_535 ? undefined : `must have a port of at most 65535, and has ${port}`;
  }
  return `must be HOST:PORT, such as 127.0.0.1:7846, not ${JSON.stringify(text)}`;
}

const addressPattern = /^(?:\[([0-9A-Fa-f:.%]+)\]|([^:[\]\s/]*)):(\d{1,9})$/;

/** The address as it is written in a URL. */
export function formatAddress({ host, port }: ListenAddress): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** Whether only this machine can reach that host. */
export function isLoopback(host: string): boolean {
  if (host.toLowerCase() === "localhost") return true;
  return isIPv6(host) ? loopback.check(host, "ipv6") : loopback.check(host, "ipv4");
}
