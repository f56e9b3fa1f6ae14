/** What is said of a server with which no connection came about. */
export interface ConnectionFailure {
  readonly why: string;
  /** What to do next. */
  readonly hints: readonly string[];
}

/** Explains it by the message that grpc-js has for it, and the address as it was given: HOST:PORT or https://HOST:PORT. */
export function explainConnectionFailure(message: string, address: string): ConnectionFailure {
  const cause = lastCause(message);
  const isTls = address.startsWith("https://");
  const other = isTls ? address.slice("https://".length) : `https://${address}`;
  if (isTls && /certificate|self.signed/i.test(cause)) {
    return { why: describeMismatch(cause) ?? cause, hints: certificateHints(cause) };
  }
  if (isTls && /wrong version number|before secure TLS/.test(cause)) {
    return { why: "no TLS comes about", hints: [`does it speak no TLS? Then it is: --server ${other}`] };
  }
  // Somebody is there, and closes: a system's error would have a code.
  if (!isTls && cause.startsWith("Failed to connect")) {
    const hint = `does it speak TLS? Then it is: --server ${other}, with --ca FILE for who signed its certificate`;
    return { why: "what listens there closes the connection", hints: [hint] };
  }
  return { why: cause, hints: absentHints };
}

const absentHints = [
  "start one with: stint serve",
  "or name another: --server HOST:PORT, https://HOST:PORT with TLS, or STINT_SERVER in the environment",
];

function certificateHints(cause: string): string[] {
  if (/altnames/.test(cause)) return ["name the server as its certificate does: --server https://NAME:PORT"];
  if (/expired|not yet valid/.test(cause)) return ["the server needs a certificate that is valid now"];
  return [
    "--ca FILE, or STINT_CA in the environment, names who signed its certificate, or that certificate itself (PEM)",
  ];
}

/** "its certificate is not for a.example, but for b.example, 10.0.0.1": whom else it is for stands there only where Node has found names of that kind. */
function describeMismatch(cause: string): string | undefined {
  const match = /(?:Host|IP): (\S+?)\.? is not (?:in the cert's (?:list|altnames)|cert's CN):(.*)$/s.exec(cause);
  const [, host, list = ""] = match ?? [];
  const names = list.replaceAll(/DNS:|IP Address:/g, "").trim();
  return host && `its certificate is not for ${host}${names === "" ? "" : `, but for ${names}`}`;
}

/** "connect ECONNREFUSED 127.0.0.1:7846" out of what grpc-js makes of it. */
function lastCause(message: string): string {
  const [, cause = message] =
    /Last error: (?:Error(?: \[\w+\])?: )?(.*?)(?:\. Resolution note:.*)?$/s.exec(message) ?? [];
  // OpenSSL's have their reason between places in its code.
  return (/SSL routines:[^:]*:([^:]+)/.exec(cause)?.[1] ?? cause).trim();
}
