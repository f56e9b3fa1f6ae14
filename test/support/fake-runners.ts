/** The runners of a controller, for tests of the network side: keeps what their streams say, and lets the test answer. */
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { type RunnerHello, type RunRequest, RunnerWelcomeSchema } from "#gen/stint/v1/runner_pb.js";
import { invalidArgument } from "../../src/controller/error.ts";
import type { Attachment, Detachment, RemoteRunners, RunnerLink } from "../../src/controller/remote-link.ts";
import { eventually } from "./eventually.ts";

/** A stream that is, or was, attached. */
export interface FakeAttachment {
  readonly hello: RunnerHello;
  readonly link: RunnerLink;
  /** What was read: "keepalive 1", "write a 1". */
  readonly said: string[];
  /** Every "held back" and "read on", in order. */
  readonly pauses: boolean[];
  /** How it was detached, each time that it was. */
  readonly detachments: Detachment[];
}

export class FakeRunners implements RemoteRunners {
  readonly attachments: FakeAttachment[] = [];
  /** Thrown by `attach`, when set. */
  failure: Error | undefined;
  /** What is said of a task is on disk when this resolves. */
  gate: Promise<void> | undefined;

  get connected(): number {
    return this.attachments.filter(({ detachments }) => detachments.length === 0).length;
  }

  get known(): number {
    return this.attachments.length;
  }

  attach(hello: RunnerHello, link: RunnerLink): Attachment {
    if (this.failure !== undefined) throw this.failure;
    const attachment: FakeAttachment = { hello, link, said: [], pauses: [], detachments: [] };
    this.attachments.push(attachment);
    return {
      welcome: create(RunnerWelcomeSchema, { lease: durationFromMs(15_000), protocolVersion: 1 }),
      receive: (message) => this.#receive(attachment, message),
      holdBack: (isHeldBack) => attachment.pauses.push(isHeldBack),
      detach: (how) => attachment.detachments.push(how),
    };
  }

  /** The newest attachment; waits for one. */
  async attached(count = 1): Promise<FakeAttachment> {
    await eventually(() => {
      if (this.attachments.length < count) throw new Error("no stream is attached");
    });
    return this.attachments.at(-1) as FakeAttachment;
  }

  #receive({ link, said }: FakeAttachment, { message }: RunRequest): Promise<void> | undefined {
    if (message.case === "hello")
      throw invalidArgument([{ field: "hello", description: "must be the first message only" }]);
    if (message.case === "keepalive") {
      said.push(`keepalive ${message.value.number}`);
      link.keepalive(message.value);
      return undefined;
    }
    const { taskId = "", seq = 0n } = (message.value ?? {}) as { taskId?: string; seq?: bigint };
    said.push(`${message.case} ${taskId} ${seq}`);
    return this.gate;
  }
}
