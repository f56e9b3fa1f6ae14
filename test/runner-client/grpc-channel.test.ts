/** Whom a runner trusts to be its server. */
import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { silentLog } from "../../src/runner-client/run-remote.ts";
import { eventually } from "../support/eventually.ts";
import { openFakeRunnerServer } from "../support/fake-runner-server.ts";
import { start } from "./support/start-remote.ts";

const pem = (name: string): Promise<Buffer> => readFile(new URL(`../support/tls/${name}`, import.meta.url));

describe("runRemote", () => {
  test("connects over TLS to a server whose certificate is signed by whom it is told, and to no other", async () => {
    await using server = await openFakeRunnerServer({
      tls: { cert: await pem("server.pem"), key: await pem("server.key") },
    });
    const target = `https://localhost:${server.port}`;
    const said: object[] = [];
    const log = { ...silentLog, warn: (fields: object) => void said.push(fields) };
    await using _unsure = start(server, { onTaskRunning: () => {} }, { target, log });
    await eventually(
      () => expect(said).toMatchObject([{ why: expect.stringMatching(/^UNAVAILABLE: /) as unknown }]),
      15_000,
    );
    await using _runner = start(server, { onTaskRunning: () => "done" }, { target, ca: String(await pem("ca.pem")) });
    expect((await (await server.stream()).run(5n)).outcome.case).toBe("done");
    expect(server.streams).toHaveLength(1);
  });

  test("trusts the server's own certificate where it is told that, though another has signed it", async () => {
    const cert = await pem("server.pem");
    await using server = await openFakeRunnerServer({ tls: { cert, key: await pem("server.key") } });
    const target = `https://localhost:${server.port}`;
    await using _runner = start(server, { onTaskRunning: () => "done" }, { target, ca: String(cert) });
    expect((await (await server.stream()).run(5n)).outcome.case).toBe("done");
  });
});
