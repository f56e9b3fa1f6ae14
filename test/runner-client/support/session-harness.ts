import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import {
  type AbortReason,
  type PhaseEnd,
  PhaseEndSchema,
  RunPhase,
  type RunRequest,
  RunResponseSchema,
  type RunnerWelcomeSchema,
  type TaskOfferSchema,
  TaskWriteSchema,
} from "#gen/stint/v1/runner_pb.js";
import type { ConnectionEvents } from "../../../src/runner-client/connection.ts";
import { Session } from "../../../src/runner-client/session.ts";
import type { ToHandlers } from "../../../src/runner-client/thread-messages.ts";
import { createFakeClock } from "../../support/fake-clock.ts";

export const keepaliveMs = 5_000;

/** One stream of a session, as its server sees it. */
export class FakeStream {
  readonly said: RunRequest["message"][] = [];
  isHalfClosed = false;
  isClosed = false;
  readonly #events: ConnectionEvents;

  constructor(events: ConnectionEvents) {
    this.#events = events;
  }

  /** What was said of these kinds, or of all but keepalives. */
  saidOf(...cases: string[]): unknown[] {
    const wanted = this.said.filter((message) =>
      cases.length > 0 ? cases.includes(message.case ?? "") : message.case !== "keepalive",
    );
    return wanted.map(({ case: kind, value }) => {
      const { $typeName: _, ...fields } = value as { $typeName: string };
      return { [kind as string]: fields };
    });
  }

  send(message: MessageInitShape<typeof RunResponseSchema>["message"]): void {
    this.#events.message(create(RunResponseSchema, { message }));
  }

  welcome(init: MessageInitShape<typeof RunnerWelcomeSchema> = {}): void {
    const [lease, keepalive] = [durationFromMs(3 * keepaliveMs), durationFromMs(keepaliveMs)];
    this.send({ case: "welcome", value: { lease, keepalive, offerTimeout: keepalive, protocolVersion: 1, ...init } });
  }

  offer(fence: bigint, phase = RunPhase.PENDING, init: MessageInitShape<typeof TaskOfferSchema> = {}): void {
    this.send({ case: "offer", value: { taskId: `t${fence}`, runId: "run", attempt: 1, fence, phase, ...init } });
  }

  written(fence: bigint, seq: bigint): void {
    this.send({ case: "written", value: { taskId: `t${fence}`, fence, seq } });
  }

  refuse(fence: bigint, seq: bigint, code: number): void {
    this.send({ case: "refused", value: { taskId: `t${fence}`, fence, seq, error: { code, message: "no" } } });
  }

  abort(fence: bigint, reason: AbortReason): void {
    this.send({ case: "abort", value: { taskId: `t${fence}`, fence, reason } });
  }

  answerKeepalives(): void {
    for (const { value } of this.said.filter((message) => message.case === "keepalive")) {
      this.send({ case: "keepalive", value: { number: value.number } });
    }
  }

  end(code = 0, message = ""): void {
    this.#events.ended({ code, message });
  }
}

export interface HarnessOptions {
  /** What chance gives: a half makes every wait as long as it is in the middle. */
  readonly fraction?: () => number;
  readonly wantsCompleted?: boolean;
}

/** A session with a clock that stands still, and a server that is the test. */
export function startSession({ fraction = () => 0.5, wantsCompleted = false }: HarnessOptions = {}) {
  const clock = createFakeClock();
  let pausedMs = 0;
  const streams: FakeStream[] = [];
  const openedAtMs: number[] = [];
  const posted: ToHandlers[] = [];
  const settings = { target: "here:1", ca: undefined, controller: "steps", name: "me", capacity: 4, wantsCompleted };
  const session = new Session(settings, {
    clock: {
      mono: () => clock.mono() + pausedMs,
      wall: () => clock.wall(),
      after: (delayMs, fire) => clock.after(delayMs, fire),
    },
    random: { id: () => "an-instance-0123456789", fraction },
    post: (message) => void posted.push(message),
    connect(events) {
      const stream = new FakeStream(events);
      streams.push(stream);
      openedAtMs.push(clock.mono());
      return {
        send: (message) => void stream.said.push(message),
        end: () => void (stream.isHalfClosed = true),
        close: () => void (stream.isClosed = true),
      };
    },
  });
  session.start();
  return {
    session,
    clock,
    streams,
    openedAtMs,
    /** The process does not run for so long: time passes, and no timer fires. */
    pause: (ms: number) => void (pausedMs += ms),
    /** What the handlers' thread was told of tasks. */
    told: () => posted.filter(({ type }) => type !== "log" && type !== "limits"),
    limits: () => posted.flatMap((message) => (message.type === "limits" ? [message.limits] : [])),
    log: () => posted.flatMap((message) => (message.type === "log" ? [`${message.level}: ${message.message}`] : [])),
    stream: (): FakeStream => streams.at(-1) as FakeStream,
    accept: (fence: bigint, phase = RunPhase.PENDING) => session.receive({ type: "accept", fence, phase }),
    write: (fence: bigint, seq: bigint) =>
      session.receive({ type: "write", write: create(TaskWriteSchema, { taskId: `t${fence}`, fence, seq }) }),
    end: (fence: bigint, seq: bigint, phase: RunPhase, outcome: "done" | "aborted" | "failed" | "released" = "done") =>
      session.receive({ type: "end", end: endOf(fence, seq, phase, outcome) }),
    async reconnect(code = 14): Promise<FakeStream> {
      this.stream().end(code, "gone");
      await clock.advance(2_000);
      return this.stream();
    },
  };
}

function endOf(fence: bigint, seq: bigint, phase: RunPhase, outcome: string): PhaseEnd {
  const value = outcome === "failed" ? { error: { message: "x" } } : {};
  return create(PhaseEndSchema, { taskId: `t${fence}`, fence, seq, phase, outcome: { case: outcome, value } as never });
}
