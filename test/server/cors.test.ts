/** Pages of the web: none may call, but those of the origins that are listed. */
import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { parseOrigin } from "../../src/server/cors.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import { startServer } from "../../src/server/start-server.ts";

const origin = "https://tasks.example.com";
const controllers = [{ name: "countdown", runner: { module: resolve("examples/runners/countdown.ts") } }];

async function start(options: ServerOptions = {}) {
  const server = await startServer({ listen: "127.0.0.1:0", store: "memory:", controllers, ...options });
  const call = (method: string, headers: Record<string, string>, body: object = {}): Promise<Response> =>
    fetch(`http://${server.address}/stint.v1.TaskControllerService/${method}`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
  const preflight = (from: string): Promise<Response> =>
    fetch(`http://${server.address}/stint.v1.TaskControllerService/LaunchTask`, {
      method: "OPTIONS",
      headers: { origin: from, "access-control-request-method": "POST" },
    });
  return { call, preflight, [Symbol.asyncDispose]: () => server.close({ graceMs: 0 }) };
}

describe("a page", () => {
  test.each([origin, "http://127.0.0.1:7846", "null"])(
    "of %s may not call where no origins are listed, and its call has no effect",
    async (from) => {
      await using server = await start();
      const refused = await server.call("LaunchTask", { origin: from }, { controller: "countdown", taskId: "a" });
      expect(refused.status).toBe(403);
      expect(await refused.json()).toMatchObject({ code: "permission_denied" });
      expect(refused.headers.get("access-control-allow-origin")).toBeNull();
      expect((await server.preflight(from)).headers.get("access-control-allow-origin")).toBeNull();
      expect((await server.call("GetTaskStatus", {}, { controller: "countdown", taskId: "a" })).status).toBe(404);
    },
  );

  test("of a listed origin may call, and read the answer with its details; another may not", async () => {
    await using server = await start({ corsOrigins: [origin] });
    const asked = await server.preflight(origin);
    expect(asked.status).toBe(204);
    expect(asked.headers.get("access-control-allow-origin")).toBe(origin);
    expect(asked.headers.get("access-control-allow-methods")).toContain("POST");
    expect(asked.headers.get("access-control-allow-headers")?.toLowerCase()).toContain("connect-protocol-version");
    expect(asked.headers.get("access-control-allow-credentials")).toBeNull();
    expect(asked.headers.get("vary")).toBe("Origin");
    const answered = await server.call("GetServerInfo", { origin });
    expect(answered.status).toBe(200);
    expect(answered.headers.get("access-control-allow-origin")).toBe(origin);
    expect(answered.headers.get("access-control-expose-headers")?.toLowerCase()).toContain("grpc-status");
    // So is what is refused without a handler.
    const unknown = await server.call("NoSuchCall", { origin });
    expect(unknown.headers.get("access-control-allow-origin")).toBe(origin);
    expect((await server.call("GetServerInfo", { origin: "https://example.com" })).status).toBe(403);
  });

  test("of an origin that cannot be one is found out at the start", async () => {
    for (const bad of ["*", "tasks.example.com", "https://tasks.example.com/", "ftp://example.com", "null"]) {
      await expect(start({ corsOrigins: [bad] })).rejects.toThrow(/corsOrigins: ".*" is not the origin of a page/);
    }
    expect(parseOrigin("http://LOCALHOST:8080")).toBe("http://localhost:8080");
  });
});

test("who is no page, and names no origin, is served", async () => {
  await using server = await start();
  expect((await server.call("GetServerInfo", {})).status).toBe(200);
});
