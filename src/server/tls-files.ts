/**
 * A certificate and its key, from files that are looked at again and again: a renewed
 * certificate is served without a restart, to connections made from then on.
 *
 * It owns the timer that looks.
 *
 * 1. What is served is always a pair that fits: where new files cannot be read, or the key is
 *    not the certificate's (they are seldom replaced in one instant), the old pair stays.
 * 2. What is wrong with new files is logged once, not each time they are looked at.
 */
import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { createSecureContext } from "node:tls";
import type { Clock } from "../clock.ts";
import type { Faults } from "../faults.ts";
import type { Log } from "../log.ts";
import { ServerError } from "./error.ts";
import { isLoopback } from "./listen-address.ts";

export interface TlsPaths {
  /** PEM: the certificate, and those that lead from it to the root. */
  readonly cert: string;
  /** PEM: its private key. */
  readonly key: string;
}

/** The contents of the files. */
export interface TlsPair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** How often the files are looked at. */
const lookMs = 5_000;

/** Reads the files. Throws ServerError OPTION where they cannot be read or do not fit each other. */
export async function loadTlsPair(paths: TlsPaths): Promise<TlsPair> {
  // One by one: where both cannot be read, the same is told each time.
  const cert = await read("tlsCert", paths.cert);
  const key = await read("tlsKey", paths.key);
  const certificate = orRefuse(`tlsCert: ${paths.cert} has no certificate in PEM`, () => new X509Certificate(cert));
  const privateKey = orRefuse(`tlsKey: ${paths.key} has no private key in PEM`, () => createPrivateKey(key));
  const both = `tlsCert ${paths.cert} and tlsKey ${paths.key} cannot be used`;
  // OpenSSL itself takes a key of another kind than the certificate's, and then no handshake comes about.
  if (!certificate.checkPrivateKey(privateKey))
    throw new ServerError("OPTION", `${both}: the key is not the certificate's`);
  orRefuse(both, () => createSecureContext({ cert, key }));
  return { cert, key };
}

function orRefuse<T>(complaint: string, use: () => T): T {
  try {
    return use();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ServerError("OPTION", `${complaint}: ${reason}`, error);
  }
}

/**
 * By which host clients can call a server that listens at `host`, so that its certificate is for it: the address itself, this
 * machine's name for itself, or else a name that the certificate has. Undefined where it has none but patterns.
 */
export function hostOfCertificate({ cert }: TlsPair, host: string): string | undefined {
  const certificate = new X509Certificate(cert);
  const isWildcard = ["0.0.0.0", "::"].includes(host);
  const names = [...(certificate.subjectAltName ?? "").matchAll(/\bDNS:([\w.-]+)/g)].map(([, name = ""]) => name);
  const own = isWildcard || isLoopback(host) ? ["127.0.0.1", "localhost"] : [];
  const candidates = isWildcard ? [...own, ...names] : [host, ...own.slice(1), ...names];
  return candidates.find((name) =>
    isIP(name) === 0 ? certificate.checkHost(name, { subject: "never" }) : certificate.checkIP(name),
  );
}

/** Calls `renew` with each new pair, from `current` on. The returned function ends it. */
export function watchTlsPair(
  paths: TlsPaths,
  current: TlsPair,
  options: {
    readonly clock: Clock;
    readonly log: Log;
    readonly faults: Faults;
    readonly renew: (pair: TlsPair) => void;
  },
): () => void {
  const { clock, log, faults, renew } = options;
  let served = hashOf(current);
  let complained = "";
  let stopped = false;
  let cancel = clock.after(lookMs, look);

  function look(): void {
    void lookOnce().then(() => {
      if (!stopped) cancel = clock.after(lookMs, look);
    });
  }

  async function lookOnce(): Promise<void> {
    try {
      const pair = await loadTlsPair(paths);
      if (stopped || hashOf(pair) === served) return;
      renew(pair);
      served = hashOf(pair);
      complained = "";
      log.info({ cert: paths.cert }, "the certificate was renewed");
    } catch (error) {
      const complaint = String(error);
      if (complaint === complained) return;
      complained = complaint;
      faults.note("renewals_failed", { err: error }, "the new certificate cannot be used; the old one stays");
    }
  }

  return () => {
    stopped = true;
    cancel();
  };
}

async function read(option: string, file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new ServerError("OPTION", `${option}: ${file} cannot be read: ${reason}`, error);
  }
}

function hashOf({ cert, key }: TlsPair): string {
  return createHash("sha256").update(cert).update("\0").update(key).digest("hex");
}
