// Bundles the page and serves it: serve.mjs [PORT]. Port 0, the default, is any that is free.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));

export async function servePage(port = 0) {
  const { outputFiles } = await build({
    entryPoints: [path("page.ts")],
    bundle: true,
    format: "esm",
    write: false,
  });
  const files = {
    "/": ["text/html; charset=utf-8", await readFile(path("index.html"))],
    "/page.js": ["text/javascript; charset=utf-8", outputFiles[0].contents],
  };
  const server = createServer((request, response) => {
    const [type, body] = files[new URL(request.url, "http://page").pathname] ?? [];
    if (body === undefined) response.writeHead(404).end();
    else response.writeHead(200, { "content-type": type }).end(body);
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  return { port: server.address().port, close: () => server.close() };
}

if (process.argv[1] === path("serve.mjs")) {
  const { port } = await servePage(Number(process.argv[2] ?? 0));
  console.log(`http://localhost:${port}/?server=http://localhost:7846`);
}
