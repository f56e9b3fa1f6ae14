/** The page of examples/clients/browser in a real browser: Chromium, at the path BROWSER or on the PATH. Needs dist/. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium } from "playwright-core";
import { expect, test } from "vitest";
import { StateCompleted } from "../../src/task/state.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { repositoryRoot, ServedProcess } from "../support/served-process.ts";
import { servePage } from "../../examples/clients/browser/serve.mjs";

const executablePath = process.env["BROWSER"] ?? "/usr/bin/chromium";

test.each(["connect", "grpc-web"])(
  "a page launches a task over %s, shows it live over a restart of the server, and reads it back",
  async (protocol) => {
    const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
    const page = await servePage();
    await using scratch = await makeScratchDirectory();
    const config = join(repositoryRoot, "examples/stint.yaml");
    await using server = await ServedProcess.create({ directory: join(scratch.path, "store"), config });
    const origin = `http://127.0.0.1:${page.port}`;
    const env = { STINT_CORS_ORIGINS: origin };
    await server.start(env);
    try {
      const tab = await browser.newPage();
      await tab.goto(`${origin}/?server=${server.baseUrl}&protocol=${protocol}`);
      await tab.fill("#task", protocol);
      await tab.click("button");
      const shown = async (): Promise<number> => Number(await tab.getAttribute("#progress", "value"));
      for (const untilMs = Date.now() + 20_000; (await shown()) < 13; await sleep(20)) {
        expect(Date.now()).toBeLessThan(untilMs);
      }
      await server.kill();
      await server.start(env);
      await tab.waitForFunction('document.getElementById("result").textContent !== ""', undefined, { timeout: 40_000 });
      expect(await tab.textContent("#state")).toBe("Completed");
      expect(await tab.textContent("#result")).toBe('{"counted":40}');
      expect((await tab.textContent("#log"))?.trimEnd().split("\n")).toEqual(
        Array.from({ length: 40 }, (_, i) => `step ${i + 1} of 40`),
      );
      const { status } = await server.client.getTaskStatus({ controller: "countdown", taskId: protocol });
      expect(status).toMatchObject({ state: StateCompleted, attempt: 2 });
    } finally {
      page.close();
      await browser.close();
    }
  },
  90_000,
);

/** Has for every call that it is INTERNAL, as Connect and as gRPC-Web. */
async function serveErrors() {
  const calls: string[] = [];
  const server = createServer((request, response) => {
    response.setHeader("access-control-allow-origin", "*");
    response.setHeader("access-control-allow-headers", "*");
    response.setHeader("access-control-expose-headers", "*");
    if (request.method === "OPTIONS") return void response.writeHead(204).end();
    calls.push(request.url ?? "");
    const contentType = request.headers["content-type"] ?? "";
    if (contentType.includes("grpc-web")) response.writeHead(200, { "content-type": contentType, "grpc-status": "13" });
    else response.writeHead(500, { "content-type": "application/json" });
    response.end(contentType.includes("grpc-web") ? "" : '{"code":"internal","message":"a mistake"}');
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { baseUrl: `http://127.0.0.1:${port}`, calls, [Symbol.dispose]: () => void server.close() };
}

test.each(["connect", "grpc-web"])(
  "a page gives up over %s where the server is there and refuses",
  async (protocol) => {
    const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
    const page = await servePage();
    using server = await serveErrors();
    try {
      const tab = await browser.newPage();
      await tab.goto(`http://127.0.0.1:${page.port}/?server=${server.baseUrl}&protocol=${protocol}`);
      await tab.fill("#task", protocol);
      await tab.click("button");
      await tab.waitForFunction('document.getElementById("state").textContent.includes("[internal]")', undefined, {
        timeout: 20_000,
      });
      expect(server.calls).toEqual(["/stint.v1.TaskControllerService/LaunchTask"]);
    } finally {
      page.close();
      await browser.close();
    }
  },
  60_000,
);
