/** What is no request: frames of HTTP/2 by themselves, and bytes of HTTP/1.1 that are nearly one. */
import { frame, frameType, uint32 } from "../support/raw-frames.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import { byteMutations, mutateBytes, randomBytes } from "./mutate-bytes.ts";
import { oddAuthorities, oddPairs, oddPaths, oddTypes, unaryCalls } from "./wire-requests.ts";

/** A frame that nobody should send: it may end the connection, and nothing else. */
export function hostileFrame(random: SeededRandom, knownStream: number): Buffer {
  const stream = random.pick([0, 1, 2, knownStream, knownStream + 2, 2 ** 31 - 1]);
  const flags = random.int(0, 255);
  const kind = random.int(0, 9);
  if (kind === 0)
    return Buffer.concat(
      Array.from({ length: random.int(1, 40) }, () =>
        frame(frameType.settings, 0, 0, randomBytes(random, 6 * random.int(0, 4))),
      ),
    );
  if (kind === 1)
    return Buffer.concat(
      Array.from({ length: random.int(1, 100) }, () => frame(frameType.ping, random.int(0, 1), 0, Buffer.alloc(8))),
    );
  if (kind === 2) return frame(frameType.windowUpdate, 0, stream, uint32(random.pick([0, 1, 2 ** 31 - 1])));
  if (kind === 3)
    return Buffer.concat(
      Array.from({ length: random.int(1, 30) }, () => frame(frameType.continuation, 0, stream, randomBytes(random, 9))),
    );
  if (kind === 4) return frame(frameType.headers, flags, stream, randomBytes(random, random.int(0, 60)));
  if (kind === 5) return frame(frameType.priority, 0, stream, Buffer.concat([uint32(stream), Buffer.of(1)]));
  if (kind === 6) return frame(random.int(10, 255), flags, stream, randomBytes(random, random.int(0, 60)));
  if (kind === 7)
    return frame(random.pick([5, frameType.goaway]), flags, stream, randomBytes(random, random.int(0, 30)));
  if (kind === 8) return Buffer.concat([Buffer.from("ffffff", "hex"), randomBytes(random, random.int(6, 40))]);
  return frame(random.int(0, 9), flags, stream, randomBytes(random, random.int(0, 60)));
}

const http1Calls = unaryCalls.map(([path, , json]) => [path, json] as const);

/** One or more requests of HTTP/1.1, with something wrong with most. */
export function http1Bytes(random: SeededRandom): Buffer {
  const requests = Array.from({ length: random.int(1, 4) }, () => {
    const [path, json] = random.pick(http1Calls);
    const host = random.chance(0.8) ? "test" : random.pick(oddAuthorities);
    const type = random.pick([
      "application/json",
      "application/grpc-web+json",
      "application/grpc",
      random.pick(oddTypes),
    ]);
    const length = random.chance(0.9) ? `${json.length}` : random.pick(["-1", "1e3", "99999999999", "0", "3, 3"]);
    const extra = random.chance(0.7) ? "" : `${random.pick(oddPairs).join(": ")}\r\n`;
    const version = random.chance(0.95) ? "1.1" : random.pick(["1.0", "2.0", "9.9", ""]);
    const framing = random.chance(0.9) ? `content-length: ${length}\r\n` : "transfer-encoding: chunked\r\n";
    return Buffer.from(
      `POST ${random.chance(0.9) ? path : random.pick(oddPaths)} HTTP/${version}\r\nhost: ${host}\r\ncontent-type: ${type}\r\n${framing}${extra}\r\n${json}`,
    );
  });
  const all = Buffer.concat(requests);
  return random.chance(0.5) ? mutateBytes(random.pick(byteMutations), all, all, random) : all;
}
