import { EventEmitter } from "node:events";
import type { ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";
import { describe, expect, test } from "vitest";
import type { Clock } from "../../src/clock.ts";
import { Faults } from "../../src/faults.ts";
import { silentLog } from "../../src/log.ts";
import { defaultServerLimits } from "../../src/server/limits.ts";
import { SessionGuard } from "../../src/server/session-guard.ts";
import { createFakeClock } from "../support/fake-clock.ts";

/** A session whose peer answers pings when the test says so. */
class FakeSession extends EventEmitter {
  destroyed = false;
  closed = false;
  readonly pings: Array<(error: Error | null) => void> = [];

  ping(answered: (error: Error | null) => void): void {
    this.pings.push(answered);
  }

  answer(): void {
    this.pings.shift()?.(null);
  }

  close(): void {
    this.closed = true;
  }

  destroy(): void {
    this.destroyed = true;
    // What is under way is told so, as Node does it.
    for (const answered of this.pings.splice(0)) answered(new Error("canceled"));
  }
}

/** The socket of a peer that never closes its side. */
class FakeSocket extends EventEmitter {
  destroyed = false;

  destroy(): void {
    this.destroyed = true;
    this.emit("close");
  }
}

function guarded(clock: Clock) {
  const session = new FakeSession();
  const socket = new FakeSocket();
  const faults = new Faults({ clock });
  const guard = new SessionGuard(session as unknown as ServerHttp2Session, socket as unknown as Socket, {
    limits: defaultServerLimits,
    clock,
    log: silentLog,
    faults,
  });
  const stream = new EventEmitter();
  session.emit("stream", stream);
  return { session, socket, guard, stream, faults };
}

describe("a session", () => {
  test("whose peer has vanished is destroyed 45 s after its last sign of life, and no timer stays", async () => {
    const clock = createFakeClock();
    const { session, socket, faults } = guarded(clock);
    for (let round = 0; round < 3; round += 1) {
      await clock.advance(30_000);
      expect(session.pings).toHaveLength(1);
      await clock.advance(14_999);
      session.answer();
    }
    await clock.advance(44_999);
    expect(session.destroyed).toBe(false);
    await clock.advance(1);
    expect(session.destroyed).toBe(true);
    expect(faults.counts().peers_lost).toBe(1);
    await clock.advance(1_000);
    expect(socket.destroyed).toBe(true);
    expect(clock.pending()).toBe(0);
  });

  test("is not destroyed for the time in which this process was held up", async () => {
    const clock = createFakeClock();
    let heldUpMs = 0;
    const { session } = guarded({ ...bind(clock), mono: () => clock.mono() + heldUpMs });
    await clock.advance(30_000);
    heldUpMs = 60_000;
    await clock.advance(29_999);
    expect(session.destroyed).toBe(false);
    session.answer();
    await clock.advance(30_000);
    expect(session.pings).toHaveLength(1);
    await clock.advance(15_000);
    expect(session.destroyed).toBe(true);
  });

  test("without a call for 5 minutes is closed, and one with a call is not", async () => {
    const clock = createFakeClock();
    const { session, socket, stream } = guarded(clock);
    session.ping = (answered) => answered(null);
    await clock.advance(3_600_000);
    expect(session.closed).toBe(false);
    stream.emit("close");
    await clock.advance(299_999);
    expect(session.closed).toBe(false);
    await clock.advance(1);
    expect(session.closed).toBe(true);
    await clock.advance(1_000);
    expect(socket.destroyed).toBe(true);
    expect(clock.pending()).toBe(0);
  });

  test("that takes no new calls lasts as long as the last one, and its socket hardly longer", async () => {
    const clock = createFakeClock();
    const { session, socket, guard, stream } = guarded(clock);
    session.ping = (answered) => answered(null);
    guard.close();
    await clock.advance(100_000);
    expect([session.closed, socket.destroyed]).toEqual([true, false]);
    stream.emit("close");
    await clock.advance(999);
    expect(socket.destroyed).toBe(false);
    await clock.advance(1);
    expect(socket.destroyed).toBe(true);
    expect(clock.pending()).toBe(0);
  });

  test("that opens calls at the rate that is allowed never waits, and one that is faster waits a second at most", async () => {
    const clock = createFakeClock();
    const { guard } = guarded(clock);
    for (let call = 0; call < 1_000; call += 1) expect(guard.admitCall()).toBe(0);
    expect(guard.admitCall()).toBe(1);
    for (let call = 1_001; call < 2_000; call += 1) guard.admitCall();
    expect(guard.admitCall()).toBeUndefined();
    await clock.advance(2_000);
    expect(guard.admitCall()).toBe(0);
  });
});

/** The clock as an object of its own, so that a part of it can be replaced. */
function bind(clock: Clock): Clock {
  return { mono: () => clock.mono(), wall: () => clock.wall(), after: (ms, fire) => clock.after(ms, fire) };
}
