/** Floods of frames that cost their sender little: the server stays up, small, and serves others meanwhile. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { envelope } from "../support/raw-http.ts";
import {
  callHeaders,
  endHeaders,
  endStream,
  frame,
  FrameSocket,
  frameType,
  headerBlock,
  uint32,
} from "../support/raw-frames.ts";
import { serveFake } from "../support/served-fake.ts";

/** How long each flood lasts. */
const floodMs = Number(process.env["FLOOD_MS"] ?? 150);
const framesMin = 1_000;
const growthMaxBytes = 200 * 1024 * 1024;

const headers = callHeaders("/stint.v1.TaskControllerService/GetServerInfo");
const open = (i: number, flags = endHeaders) => frame(frameType.headers, flags, 2 * i + 1, headers);
const setting = Buffer.from([0, 3, 0, 0, 0, 100]);

const floods: [string, (i: number) => Buffer][] = [
  [
    "calls that are reset at once",
    (i) => Buffer.concat([open(i), frame(frameType.rstStream, 0, 2 * i + 1, uint32(8))]),
  ],
  [
    "calls that make the server reset them",
    (i) => Buffer.concat([open(i), frame(frameType.windowUpdate, 0, 2 * i + 1, uint32(0))]),
  ],
  ["calls that are never finished", (i) => open(i)],
  [
    "whole calls",
    (i) => Buffer.concat([open(i), frame(frameType.data, endStream, 2 * i + 1, envelope(Buffer.alloc(0)))]),
  ],
  ["pings", () => frame(frameType.ping, 0, 0, Buffer.alloc(8))],
  ["settings", () => frame(frameType.settings, 0, 0, setting)],
  ["many settings at once", () => frame(frameType.settings, 0, 0, Buffer.concat(Array(40).fill(setting)))],
  ["window updates", () => frame(frameType.windowUpdate, 0, 0, uint32(1))],
  ["priorities", (i) => frame(frameType.priority, 0, 2 * i + 1, Buffer.from([0, 0, 0, 0, 16]))],
  ["empty data", (i) => (i === 0 ? open(0) : frame(frameType.data, 0, 1))],
  ["empty continuations", (i) => (i === 0 ? open(0, 0) : frame(frameType.continuation, 0, 1))],
  [
    "continuations without an end",
    (i) => (i === 0 ? open(0, 0) : frame(frameType.continuation, 0, 1, headerBlock({ [`x-${i}`]: "y".repeat(100) }))),
  ],
  ["frames of an unknown type", () => frame(200, 0, 0, Buffer.alloc(100))],
];

/** Opens connections one after the other, and sends on each until it is closed: for so long, and so many frames at least. */
async function flood(port: number, next: (i: number) => Buffer): Promise<void> {
  const untilMs = performance.now() + floodMs;
  let sent = 0;
  const goesOn = () => sent < framesMin || performance.now() < untilMs;
  while (goesOn()) {
    const peer = new FrameSocket(port);
    for (let i = 0; !peer.socket.closed && goesOn(); i += 100) {
      const frames = Array.from({ length: 100 }, (_, k) => next(i + k));
      await Promise.race([peer.send(...frames), sleep(100)]);
      sent += frames.length;
    }
    peer.destroy();
  }
}

describe("a flood", () => {
  test.each(floods)("of %s harms nobody", { timeout: 60_000 + 2 * floodMs }, async (_, next) => {
    await using served = await serveFake({ limits: { sessionsPerIpMax: 1_000 } });
    const honest = served.client();
    expect((await honest.getServerInfo({})).version).toBe("0.0.0-test");
    const before = process.memoryUsage().rss;
    let over = false;
    const flooding = flood(served.port, next).finally(() => {
      over = true;
    });
    let answered = 0;
    for (; !over || answered === 0; answered += 1) {
      await honest.getServerInfo({});
      await sleep(5);
    }
    await flooding;
    expect((await honest.getServerInfo({})).version).toBe("0.0.0-test");
    expect(process.memoryUsage().rss - before).toBeLessThan(growthMaxBytes);
    expect(served.logged.filter(({ level }) => level === "error")).toEqual([]);
  });
});
