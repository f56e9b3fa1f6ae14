/** `npm start`, in a checkout as a clone has it after npm ci. */
import { execFile } from "node:child_process";
import { connect } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { makeCheckout } from "../support/checkout.ts";
import { NpmStart } from "../support/npm-start.ts";

const run = promisify(execFile);

/** Whether something listens at HOST:PORT. */
function listens(address: string): Promise<boolean> {
  const [host = "", port = ""] = address.split(":");
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port) }, () => resolve(true));
    socket.once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

describe("npm start", { timeout: 120_000 }, () => {
  test("serves what its banner shows, with tasks in ./stint-data, and finds them again after Ctrl-C", async () => {
    await using checkout = await makeCheckout();
    await using first = new NpmStart(checkout.path, "--listen", "127.0.0.1:0");
    const { commands, address } = await first.banner();
    expect(first.stderr).toContain(`Tasks are kept in ${join(checkout.path, "stint-data")}.`);
    expect(commands[0]).toMatch(/^grpcurl -plaintext -d '\{.*\}' \S+ stint\.v1\.TaskControllerService\/LaunchTask$/);
    const launch = commands.find((command) => command.includes("--watch")) ?? "";
    const { stdout } = await run("sh", ["-c", launch.replace('"limit":50', '"limit":2')], { cwd: checkout.path });
    expect(stdout).toContain("countdown/demo Completed 2/2 steps (100%), in");

    first.interrupt();
    expect(await first.exited).toBe(0);
    expect(await listens(address)).toBe(false);

    await using again = new NpmStart(checkout.path, "--listen", address);
    await again.banner();
    const status = await run("sh", ["-c", `npx stint status countdown demo --server ${address}`], {
      cwd: checkout.path,
    });
    expect(status.stdout).toMatch(/State +Completed/);
  });

  test("serves over TLS what its banner shows, without a warning", async () => {
    await using checkout = await makeCheckout();
    const tls = join(checkout.path, "test/support/tls");
    const files = ["--tls-cert", join(tls, "server.pem"), "--tls-key", join(tls, "server.key")];
    await using server = new NpmStart(checkout.path, "--listen", "127.0.0.1:0", ...files);
    const { commands } = await server.banner();
    const launch = commands.find((command) => command.includes("--watch")) ?? "";
    const { stdout, stderr } = await run("sh", ["-c", launch.replace('"limit":50', '"limit":2')], {
      cwd: checkout.path,
    });
    expect(stdout).toContain("countdown/demo Completed 2/2 steps (100%), in");
    expect(stderr).toBe("");
  });

  test("takes its server along when npm alone is asked to stop", async () => {
    await using checkout = await makeCheckout();
    await using server = new NpmStart(checkout.path, "--listen", "127.0.0.1:0");
    const { address } = await server.banner();
    server.terminate();
    expect(await server.exited).toBe(0);
    expect(await listens(address)).toBe(false);
  });

  test("says what to do when the port or the directory is taken, and harms nothing", async () => {
    await using checkout = await makeCheckout();
    await using server = new NpmStart(checkout.path, "--listen", "127.0.0.1:0");
    const { address } = await server.banner();

    await using samePort = new NpmStart(checkout.path, "--listen", address, "--data-dir", join(checkout.path, "other"));
    expect(await samePort.exited).toBe(6);
    expect(samePort.stderr).toContain(`error: cannot listen on ${address}: something else listens there\nhint: `);
    expect(samePort.stderr).toContain("npm start -- --listen 127.0.0.1:7847");

    await using sameDirectory = new NpmStart(checkout.path, "--listen", "127.0.0.1:0");
    expect(await sameDirectory.exited).toBe(5);
    expect(sameDirectory.stderr).not.toContain("the server is stopping");
    expect(sameDirectory.stderr).toMatch(/^error: another process has the store in .* open\nhint: /m);
    expect(sameDirectory.stderr).toContain("npm start -- --data-dir ./other-data");

    expect(await listens(address)).toBe(true);
  });
});
