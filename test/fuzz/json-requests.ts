/** Requests in JSON, over every protocol that takes them, changed as text, as envelopes and in their form. */
import { gzipSync } from "node:zlib";
import { createRegistry, type Message, toJson } from "@bufbuild/protobuf";
import { envelope } from "../support/raw-http.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import type { Asked } from "./ask.ts";
import { type JsonMutation, jsonMutations } from "./mutate-json.ts";
import { type MadeRequest, makeRequest } from "./requests.ts";
import { type FuzzInput, isPatient } from "./run-worlds.ts";

const unaryTypes = [
  "application/json",
  "application/json",
  "application/json",
  "application/grpc+json",
  "application/grpc-web+json",
];
const streamTypes = [
  "application/connect+json",
  "application/connect+json",
  "application/grpc+json",
  "application/grpc-web+json",
];

/** What was done to an envelope, or to a body that should have one. */
const envelopeChanges = [
  "no envelope",
  "half a prefix",
  "claims more",
  "claims less",
  "flags",
  "two",
  "none at all",
  "gzip",
  "broken gzip",
] as const;
/** What was done to the form of the request. */
const formChanges = [
  "content type",
  "verb",
  "query",
  "timeout",
  "encoding",
  "version",
  "path",
  "other headers",
] as const;
type Change = "none" | JsonMutation | (typeof envelopeChanges)[number] | (typeof formChanges)[number];

const weightsOf = (names: readonly string[], weight: number) => Object.fromEntries(names.map((name) => [name, weight]));
const changeWeights = {
  none: 8,
  ...weightsOf(Object.keys(jsonMutations), 1),
  ...weightsOf(envelopeChanges, 0.4),
  ...weightsOf(formChanges, 0.4),
} as Record<Change, number>;

const types = createRegistry();

/** The message in JSON; undefined where JSON cannot say it. */
function jsonOf({ method, messages }: MadeRequest): string[] | undefined {
  try {
    return messages.map(({ message }) => JSON.stringify(toJson(method.input, message as Message, { registry: types })));
  } catch {
    return undefined;
  }
}

/** All that may be done to a request. */
export const jsonChanges: readonly string[] = Object.keys(changeWeights);

export function makeJsonInput(random: SeededRandom): FuzzInput {
  for (;;) {
    const made = makeRequest(random);
    const texts = jsonOf(made);
    if (texts !== undefined) return prepare(made, texts, random);
  }
}

function prepare(made: MadeRequest, texts: readonly string[], random: SeededRandom): FuzzInput {
  const { method } = made;
  const contentType = random.pick(method.methodKind === "unary" ? unaryTypes : streamTypes);
  const isEnveloped = contentType !== "application/json";
  let change = random.weighted(changeWeights);
  if (!isEnveloped && (envelopeChanges as readonly string[]).includes(change) && !change.includes("gzip"))
    change = "none";
  const headers: Record<string, string> = { "content-type": contentType };
  const text = texts.at(-1) ?? "";
  const own = change in jsonMutations ? jsonMutations[change as JsonMutation](text, random) : Buffer.from(text);
  const before = texts.slice(0, -1).map((each) => envelope(Buffer.from(each)));
  const body = isEnveloped ? enveloped(change, own, random) : own;
  let asked: Asked = {
    ...{
      path: `/${method.parent.typeName}/${method.name}`,
      method: "POST",
      headers,
      body: Buffer.concat([...before, body]),
    },
    isHttp2: method.methodKind === "bidi_streaming" ? random.chance(0.9) : random.chance(0.5),
    mayWait: isPatient(made),
  };
  if (change.includes("gzip")) asked = compressed(asked, isEnveloped, change === "gzip", random);
  if ((formChanges as readonly string[]).includes(change))
    asked = changeForm(change as (typeof formChanges)[number], asked, random);
  return { made, asked, change };
}

function enveloped(change: Change, own: Buffer, random: SeededRandom): Buffer {
  if (change === "no envelope") return own;
  if (change === "half a prefix") return envelope(own).subarray(0, random.int(1, 4));
  if (change === "claims more")
    return envelope(own, { claimedBytes: own.length + random.pick([1, 9, 2 ** 20, 2 ** 31]) });
  if (change === "claims less") return envelope(own, { claimedBytes: random.int(0, Math.max(0, own.length - 1)) });
  if (change === "flags") return envelope(own, { flags: random.pick([1, 2, 3, 4, 0x7f, 0x80, 0xff]) });
  if (change === "two") return Buffer.concat([envelope(own), envelope(own)]);
  return change === "none at all" ? Buffer.alloc(0) : envelope(own);
}

function compressed(asked: Asked, isEnveloped: boolean, isSound: boolean, random: SeededRandom): Asked {
  const bytes = isEnveloped ? asked.body.subarray(5) : asked.body;
  const zipped = gzipSync(bytes);
  const sent = isSound ? zipped : Buffer.concat([zipped.subarray(0, random.int(0, zipped.length - 1)), Buffer.of(0)]);
  const type = asked.headers["content-type"] ?? "";
  const name = type.includes("connect")
    ? "connect-content-encoding"
    : isEnveloped
      ? "grpc-encoding"
      : "content-encoding";
  const headers = {
    ...asked.headers,
    [name]: random.chance(0.9) ? "gzip" : random.pick(["br", "identity", "", "gzip, gzip"]),
  };
  return { ...asked, headers, body: isEnveloped ? envelope(sent, { flags: 1 }) : sent };
}

function changeForm(change: (typeof formChanges)[number], asked: Asked, random: SeededRandom): Asked {
  const { headers, path } = asked;
  const withHeader = (name: string, values: readonly string[]): Asked => ({
    ...asked,
    headers: { ...headers, [name]: random.pick(values) },
  });
  const type = headers["content-type"] ?? "";
  switch (change) {
    case "content type":
      return withHeader("content-type", [
        ...[
          "",
          "application/json; charset=utf-8",
          "application/json; charset=latin1",
          "application/JSON",
          "text/json",
          "application/xml",
        ],
        ...[
          "application/proto",
          "application/grpc",
          "application/grpc-web-text",
          "application/grpc+xml",
          "application/connect+json",
        ],
        ...[
          "application/connect+proto",
          "application/json, application/json",
          `application/${"x".repeat(5_000)}`,
          "\u00e9",
        ],
      ]);
    case "verb":
      return {
        ...asked,
        method: random.pick(["GET", "HEAD", "PUT", "OPTIONS", "DELETE", "PATCH", "TRACE", "post", "FOO"]),
      };
    case "query": {
      const message = encodeURIComponent(asked.body.subarray(0, 500).toString("latin1"));
      const query = random.pick([
        `connect=v1&encoding=json&message=${message}`,
        "connect=v1&encoding=proto&base64=1&message=%%",
        "%",
        "?a=b#c",
      ]);
      return { ...asked, method: random.pick(["GET", "POST"]), path: `${path}?${query}` };
    }
    case "timeout":
      return withHeader(type.includes("grpc") ? "grpc-timeout" : "connect-timeout-ms", [
        ...[
          "99999999H",
          "0n",
          "1n",
          "",
          "-1S",
          "1",
          "1X",
          "123456789S",
          "9999999999",
          "0",
          "1e3",
          "NaN",
          " 5S",
          "5S,5S",
        ],
      ]);
    case "encoding":
      return withHeader(random.pick(["accept-encoding", "grpc-accept-encoding", "connect-accept-encoding"]), [
        "gzip",
        "br",
        "*",
        "gzip;q=0",
      ]);
    case "version":
      return withHeader("connect-protocol-version", ["1", "2", "", "x"]);
    case "path":
      return {
        ...asked,
        path: random.pick([
          `${path}/`,
          `/${path}`,
          path.toLowerCase(),
          "/",
          "*",
          "",
          `${path}%00`,
          "/../..",
          "/__proto__",
          "http://[",
          "//",
        ]),
      };
    case "other headers":
      return withHeader(
        random.pick(["origin", "expect", "x-bin", "grpc-message-type", "transfer-encoding", "content-length", "te"]),
        [
          ...[
            "http://evil.example",
            "%%%",
            "100-continue",
            "null",
            "1",
            "",
            "99999999999999999999",
            "x".repeat(17_000),
          ],
        ],
      );
  }
}
