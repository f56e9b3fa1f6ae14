/** TLS on the one port, over each protocol, and certificates that are renewed. */
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { connect as connectTls, type PeerCertificate } from "node:tls";
import { fileURLToPath } from "node:url";
import { createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { Client, credentials } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import { TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { Faults } from "../../src/faults.ts";
import { checkConfig } from "../../src/server/check-config.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import { startServer } from "../../src/server/start-server.ts";
import { hostOfCertificate, loadTlsPair, type TlsPair, watchTlsPair } from "../../src/server/tls-files.ts";
import { runCommand } from "../cli/support/run-command.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { eventually } from "../support/eventually.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";
import { serveFake } from "../support/served-fake.ts";

const directory = fileURLToPath(new URL("../support/tls/", import.meta.url));
const file = (name: string): string => join(directory, name);
const pair = { tlsCert: file("server.pem"), tlsKey: file("server.key") };

async function start(options: ServerOptions = {}) {
  const server = await startServer({ listen: "127.0.0.1:0", store: "memory:", ...pair, ...options });
  return Object.assign(server, { [Symbol.asyncDispose]: () => server.close({ graceMs: 0 }) });
}

/** A key of another kind than those of the certificates here. */
const rsaKey = generateKeyPairSync("rsa", {
  modulusLength: 2048,
  publicKeyEncoding: { type: "spki", format: "pem" },
  privateKeyEncoding: { type: "pkcs8", format: "pem" },
}).privateKey;

/** The certificate that the server shows. */
function shown(port: number): Promise<PeerCertificate> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: "localhost", port, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate());
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

async function transports(port: number): Promise<Record<string, Transport>> {
  const baseUrl = `https://127.0.0.1:${port}`;
  const nodeOptions = { ca: await readFile(file("ca.pem")) };
  return {
    grpc: createGrpcTransport({ baseUrl, nodeOptions }),
    "grpc-web over HTTP/2": createGrpcWebTransport({ baseUrl, httpVersion: "2", nodeOptions }),
    "grpc-web over HTTP/1.1": createGrpcWebTransport({ baseUrl, httpVersion: "1.1", nodeOptions }),
    "connect over HTTP/2": createConnectTransport({ baseUrl, httpVersion: "2", nodeOptions }),
    "connect over HTTP/1.1": createConnectTransport({ baseUrl, httpVersion: "1.1", nodeOptions }),
  };
}

describe("a server with a certificate", () => {
  test("serves every protocol over TLS on its one port, and says so", async () => {
    await using server = await start();
    for (const [name, transport] of Object.entries(await transports(server.port))) {
      const info = await createClient(TaskControllerService, transport).getServerInfo({});
      expect(info.features, name).toContain("tls");
      expect(info.features, name).not.toContain("insecure");
    }
  });

  test("is understood by grpc-js, which checks the certificate", async () => {
    await using server = await start();
    const ready = async (ca: Buffer | undefined): Promise<Error | undefined> => {
      const client = new Client(`127.0.0.1:${server.port}`, credentials.createSsl(ca));
      const error = await new Promise<Error | undefined>((resolve) => client.waitForReady(Date.now() + 2_000, resolve));
      client.close();
      return error;
    };
    expect(await ready(await readFile(file("ca.pem")))).toBeUndefined();
    expect(await ready(undefined)).toBeInstanceOf(Error);
  });

  test("is reached by the command line as https://, with --ca", async () => {
    await using server = await start({ version: "1.2.3" });
    const at = `https://localhost:${server.port}`;
    const trusting = await runCommand(["version", "--server", at, "--ca", file("ca.pem")]);
    expect(trusting.out).toContain("1.2.3");
    const distrusting = await runCommand(["version", "--server", at]);
    expect(distrusting).toMatchObject({ code: 4 });
    expect(distrusting.err).toContain("hint: --ca FILE");
  });

  test("is trusted by the command line for its certificate alone", async () => {
    await using server = await start({ version: "1.2.3" });
    const at = `https://127.0.0.1:${server.port}`;
    expect((await runCommand(["version", "--server", at, "--ca", file("server.pem")])).out).toContain("1.2.3");
    expect(await runCommand(["version", "--server", at, "--ca", file("renewed.pem")])).toMatchObject({ code: 4 });
  });

  test("is trusted by no file without a certificate, which is named", async () => {
    await using server = await start();
    const at = `https://127.0.0.1:${server.port}`;
    expect(await runCommand(["version", "--server", at, "--ca", file("server.key")])).toMatchObject({
      code: 2,
      err: `error: --ca: ${file("server.key")} has no certificate in PEM\n`,
    });
  });

  test("is called as https:// after the hint that who called it without gets, and the other way round", async () => {
    await using server = await start();
    const { code, err } = await runCommand(["controllers", "--server", `127.0.0.1:${server.port}`]);
    expect({ code, err }).toEqual({
      code: 4,
      err:
        `error: no server answers at 127.0.0.1:${server.port} (what listens there closes the connection)\n` +
        `hint: does it speak TLS? Then it is: --server https://127.0.0.1:${server.port}, with --ca FILE for who signed its certificate\n`,
    });
    await using plain = await serveFake();
    const reverse = await runCommand(["controllers", "--server", `https://127.0.0.1:${plain.port}`]);
    expect(reverse).toMatchObject({
      code: 4,
      err:
        `error: no server answers at https://127.0.0.1:${plain.port} (no TLS comes about)\n` +
        `hint: does it speak no TLS? Then it is: --server 127.0.0.1:${plain.port}\n`,
    });
  });

  test.each([
    ["server.pem", "127.0.0.1", "127.0.0.1"],
    ["server.pem", "0.0.0.0", "127.0.0.1"],
    ["server.pem", "::1", "localhost"],
    ["server.pem", "10.0.0.1", "localhost"],
    ["ca.pem", "127.0.0.1", undefined],
  ])("is called by a host that its certificate is for: %s at %s is %s", async (name, listen, host) => {
    const cert = await readFile(file(name));
    expect(hostOfCertificate({ cert, key: Buffer.alloc(0) }, listen)).toBe(host);
  });

  test("tells which file its certificate is in, and where it is for", async () => {
    await using server = await start({ listen: "0.0.0.0:0" });
    expect(server.tls).toEqual({ certFile: pair.tlsCert, address: `127.0.0.1:${server.port}` });
  });

  test("may be reached by other machines without being called insecure", async () => {
    await using server = await start({ listen: "0.0.0.0:0" });
    expect(server.port).toBeGreaterThan(0);
    await expect(start({ listen: "0.0.0.0:0", tlsCert: undefined, tlsKey: undefined })).rejects.toThrow(/tlsCert/);
  });

  test("lets go of who does not speak TLS, or an old one, and serves the next", async () => {
    await using server = await start();
    const socket = connectTcp(server.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write("POST /stint.v1.TaskControllerService/GetServerInfo HTTP/1.1\r\nhost: x\r\n\r\n");
    await new Promise((resolve) => socket.once("close", resolve));
    const old = new Promise<string>((resolve) => {
      const client = connectTls({
        host: "localhost",
        port: server.port,
        rejectUnauthorized: false,
        maxVersion: "TLSv1.1",
        minVersion: "TLSv1",
        ciphers: "DEFAULT@SECLEVEL=0",
      });
      client.on("error", (error) => resolve(String(error)));
      client.on("secureConnect", () => resolve("accepted"));
    });
    expect(await old).not.toBe("accepted");
    expect((await shown(server.port)).subject.CN).toBe("server one");
  });

  test("is told at its start which file is wrong", async () => {
    await expect(start({ tlsCert: file("absent.pem") })).rejects.toThrow(
      /tlsCert: .*absent\.pem cannot be read: ENOENT/,
    );
    await expect(start({ tlsKey: file("renewed.key") })).rejects.toThrow(/tlsCert .* and tlsKey .* cannot be used/);
    await expect(start({ tlsKey: undefined })).rejects.toThrow(/tlsCert is set without tlsKey/);
    await expect(start({ tlsCert: file("README.md") })).rejects.toThrow(/^tlsCert: .*README\.md has no certificate in/);
    await expect(start({ tlsKey: file("ca.pem") })).rejects.toThrow(/^tlsKey: .*ca\.pem has no private key in PEM/);
  });

  test("does not start with a key of another kind than the certificate's, and config check finds it", async () => {
    await using scratch = await makeScratchDirectory();
    const tlsKey = join(scratch.path, "rsa.key");
    await writeFile(tlsKey, rsaKey);
    const complaint = /tlsCert .* and tlsKey .*rsa\.key cannot be used: the key is not the certificate's/;
    await expect(start({ tlsKey })).rejects.toThrow(complaint);
    const config = join(scratch.path, "stint.yaml");
    await writeFile(config, JSON.stringify({ ...pair, tlsKey }));
    const { problems } = await checkConfig(config, { env: {} });
    expect(problems).toEqual([{ line: 1, text: expect.stringMatching(complaint) }]);
  });
});

describe("a certificate that is renewed", () => {
  test("is taken from its files as soon as they fit each other, and never before", async () => {
    await using scratch = await makeScratchDirectory();
    const paths = { cert: join(scratch.path, "tls.pem"), key: join(scratch.path, "tls.key") };
    await copyFile(file("server.pem"), paths.cert);
    await copyFile(file("server.key"), paths.key);
    const clock = createFakeClock();
    const said: string[] = [];
    const say = (_: object, message: string): void => void said.push(message);
    const log = { debug: say, info: say, warn: say, error: say };
    const faults = new Faults({ clock, log });
    const renew = ({ cert }: TlsPair): void => void said.push(new X509Certificate(cert).subject);
    const end = watchTlsPair(paths, await loadTlsPair(paths), { clock, log, faults, renew });
    const look = async (...expected: string[]): Promise<void> => {
      await clock.advance(5_000);
      // The next look is arranged when this one is over.
      await eventually(() => expect(clock.pending()).toBe(1));
      expect(said.splice(0)).toEqual(expected);
    };
    const stays = "the new certificate cannot be used; the old one stays";
    await look();
    await copyFile(file("renewed.pem"), paths.cert);
    await look(stays);
    await look();
    await copyFile(file("renewed.key"), paths.key);
    await look("CN=server two", "the certificate was renewed");
    await writeFile(paths.cert, "garbage");
    await look(stays);
    await copyFile(file("renewed.pem"), paths.cert);
    await look();
    await writeFile(paths.key, rsaKey);
    await look(stays);
    expect(faults.counts().renewals_failed).toBe(3);
    end();
  });

  test("is served to connections made from then on, and those there are go on", async () => {
    const [before, after] = await Promise.all([
      loadTlsPair({ cert: file("server.pem"), key: file("server.key") }),
      loadTlsPair({ cert: file("renewed.pem"), key: file("renewed.key") }),
    ]);
    await using served = await serveFake({ tls: before });
    const { grpc } = await transports(served.port);
    const client = createClient(TaskControllerService, grpc as Transport);
    await client.getServerInfo({});
    served.renewTls(after);
    expect((await shown(served.port)).subject.CN).toBe("server two");
    await client.getServerInfo({});
  });

  test("is looked for no longer once the watch has ended", async () => {
    const clock = createFakeClock();
    const paths = { cert: pair.tlsCert, key: pair.tlsKey };
    const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
    const end = watchTlsPair(paths, await loadTlsPair(paths), { clock, log, faults: new Faults(), renew: () => {} });
    expect(clock.pending()).toBe(1);
    end();
    expect(clock.pending()).toBe(0);
  });
});
