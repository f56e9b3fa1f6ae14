import { describe, expect, test } from "vitest";
import { formatAddress, isLoopback, parseListenAddress } from "../../src/server/listen-address.ts";
import { resolveServerOptions } from "../../src/server/options.ts";

describe("an address to listen on", () => {
  test.each([
    ["127.0.0.1:7846", "127.0.0.1", 7846],
    ["localhost:0", "localhost", 0],
    ["[::1]:65535", "::1", 65_535],
    [":7846", "::", 7846],
  ])("may be %s", (text, host, port) => {
    expect(parseListenAddress(text)).toEqual({ host, port });
  });

  test.each(["", "7846", "localhost", "localhost:", "::1:7846", "http://localhost:1", "a:b", "a:-1"])(
    "may not be %j",
    (text) => {
      expect(() => parseListenAddress(text)).toThrow(/^listen must be HOST:PORT/);
    },
  );

  test.each(["localhost:65536", "127.0.0.1:99999", ":100000000"])("cannot be %j, for its port", (text) => {
    expect(() => parseListenAddress(text)).toThrow(/^listen must have a port of at most 65535, and has \d+$/);
  });

  test("is written as in a URL", () => {
    expect(formatAddress({ host: "::1", port: 1 })).toBe("[::1]:1");
    expect(formatAddress({ host: "127.0.0.1", port: 1 })).toBe("127.0.0.1:1");
  });

  test.each([
    ["127.0.0.1", true],
    ["127.9.9.9", true],
    ["::1", true],
    ["localhost", true],
    ["LocalHost", true],
    ["0.0.0.0", false],
    ["::", false],
    ["192.168.0.1", false],
    ["example.com", false],
  ])("%s is for this machine only: %s", (host, expected) => {
    expect(isLoopback(host)).toBe(expected);
  });

  test("that other machines can reach is refused without TLS, unless that is asked for", () => {
    expect(() => resolveServerOptions({ listen: "0.0.0.0:7846" })).toThrow(/--insecure/);
    expect(() => resolveServerOptions({ listen: ":7846" })).toThrow(/--insecure/);
    expect(resolveServerOptions({ listen: "0.0.0.0:7846", insecure: true }).loopback).toBe(false);
    expect(resolveServerOptions({}).loopback).toBe(true);
  });
});
