/**
 * README.md's commands, as they are pasted, against npm start; and every command with grpcurl in docs/. Only the port is another
 * one. Needs grpcurl on the PATH.
 */
import { execFile } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { makeCheckout } from "../support/checkout.ts";
import { readBlocks } from "../support/doc-blocks.ts";
import { NpmStart } from "../support/npm-start.ts";
import { repositoryRoot } from "../support/served-process.ts";
import { parseMessages } from "./grpcurl.ts";

const run = promisify(execFile);

/** Pastes a block into a shell in `directory`, with the server at HOST:PORT; resolves to what it printed. */
async function paste(block: string, directory: string, server: { address: string }): Promise<string> {
  const script = block.replaceAll("localhost:7846", server.address);
  const env = { ...process.env, STINT_SERVER: server.address };
  const { stdout } = await run("bash", ["-euc", script], { cwd: directory, env, timeout: 60_000 });
  return stdout;
}

describe("as pasted", { timeout: 240_000 }, () => {
  test("README.md: a task launched and watched, and one that goes on after kill -9", async () => {
    const blocks = await readBlocks("README.md", "sh");
    const [commands, launch, watch, describeService, withoutGrpcurl, launchAndKill, watchAgain, ...others] = blocks as [
      ...[string, string, string, string, string, string, string],
      ...string[],
    ];
    expect(others).toEqual([]);
    expect(commands).toMatch(/^npm ci && npm start .*\nnpm ci && npm test .*\n$/);

    await using checkout = await makeCheckout();
    await using server = new NpmStart(checkout.path, "--listen", "127.0.0.1:0");
    const { address, commands: banner } = await server.banner();
    const inTerminal = (block: string): Promise<string> => paste(block, checkout.path, { address });
    expect(parseMessages(await inTerminal(banner[0] ?? ""))).toMatchObject([{ taskId: "demo" }]);
    expect(parseMessages(await inTerminal(launch))).toMatchObject([{ taskId: "first", status: { state: "Pending" } }]);
    expect(parseMessages(await inTerminal(watch)).at(-1)).toMatchObject({ status: { state: "Completed", attempt: 1 } });
    expect(await inTerminal(describeService)).toContain("rpc LaunchTask ");
    expect(await inTerminal(withoutGrpcurl)).toContain("countdown/second Completed 25/25");

    await inTerminal(launchAndKill);
    await server.exited;
    await using again = new NpmStart(checkout.path, "--listen", address);
    await again.banner();
    const messages = parseMessages(await paste(watchAgain, checkout.path, { address }));
    const kept = Number(messages[0].status.progress.current);
    expect(kept, "the progress before the kill").toBeGreaterThanOrEqual(2);
    const end = { state: "Completed", attempt: 2, progress: { current: "50", total: "50" } };
    expect(messages.at(-1)).toMatchObject({ status: end });
    // Were it counted again from the start, it would have less for a while.
    expect(messages.every(({ status }) => Number(status.progress.current) >= kept)).toBe(true);
  });

  test("the banner of a server with TLS", async () => {
    await using checkout = await makeCheckout();
    const tls = join(repositoryRoot, "test/support/tls");
    const files = ["--tls-cert", join(tls, "server.pem"), "--tls-key", join(tls, "server.key")];
    await using server = new NpmStart(checkout.path, "--listen", "127.0.0.1:0", ...files);
    const { address, commands } = await server.banner();
    expect(parseMessages(await paste(commands[0] ?? "", checkout.path, { address }))).toMatchObject([
      { taskId: "demo" },
    ]);
  });

  test("docs/: every command with grpcurl, each page from its first to its last", async () => {
    const pages = (await readdir(join(repositoryRoot, "docs"))).filter((page) => page.endsWith(".md"));
    const blocks = (await Promise.all(pages.map((page) => readBlocks(`docs/${page}`, "sh")))).flat();
    const commands = blocks.filter((block) => block.includes("grpcurl -plaintext"));
    expect(commands.length).toBeGreaterThan(0);
    await using checkout = await makeCheckout();
    await using server = new NpmStart(checkout.path, "--listen", "127.0.0.1:0");
    const { address } = await server.banner();
    for (const command of commands) {
      const exitCode = await paste(command, checkout.path, { address }).then(() => 0, codeOf);
      expect(answered, command).toContain(exitCode);
    }
  });
});

/** Exit codes of grpcurl: an answer, DEADLINE_EXCEEDED (of a watch that is to be stopped), FAILED_PRECONDITION (shown as a refusal). */
const answered = [0, 64 + 4, 64 + 9];

function codeOf(error: { code?: unknown }): unknown {
  return error.code;
}
