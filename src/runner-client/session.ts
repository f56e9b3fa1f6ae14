/**
 * The session of a runner with its server: one instance, over as many streams as it takes. It waits for nothing and
 * runs no handler; a thread of its own runs it, so that the lease is kept alive whatever the handlers do.
 *
 * connecting (hello was sent) -> open (welcome has come) -> waiting (for the next try) -> connecting ...; leaving (nothing is
 * left after a drain, and our side is closed) -> closed. docs/protocol.md has what is sent when.
 *
 * 1. The instance id is the same on every stream, so that the tasks stay this runner's.
 * 2. What was not answered is sent again after the next welcome, in order; also of tasks that are this runner's no more, so that it is seen that they came late.
 * 3. Only the server says that a task is lost: without a connection they go on.
 * 4. When the server ends a stream with INVALID_ARGUMENT it has taken the lease back. Nothing of that stream is sent again: it would end the next one too.
 * 5. An offer that no handler has taken before a stream broke is forgotten: it is offered again, to somebody.
 */
import { create } from "@bufbuild/protobuf";
import { Code } from "#gen/google/rpc/code_pb.js";
import {
  AbortReceivedSchema,
  RunnerDrainSchema,
  type RunnerHello,
  RunnerHelloSchema,
  RunnerKeepaliveSchema,
  type RunnerWelcome,
  type RunRequest,
  type RunResponse,
} from "#gen/stint/v1/runner_pb.js";
import type { Clock } from "../clock.ts";
import type { Random } from "../random.ts";
import { Backoff } from "./backoff.ts";
import type { Connect, Connection } from "./connection.ts";
import { HeldTasks } from "./held-tasks.ts";
import { Pulse } from "./pulse.ts";
import { type GrpcStatus, logTo, type SessionSettings, type ToHandlers, type ToSession } from "./thread-messages.ts";
import { keepaliveMsOf } from "./welcome-times.ts";

export interface SessionPorts {
  readonly connect: Connect;
  readonly clock: Clock;
  readonly random: Random;
  readonly post: (message: ToHandlers) => void;
}

type State =
  | { readonly kind: "waiting"; readonly cancel: () => void }
  | { readonly kind: "connecting"; readonly connection: Connection; readonly cancel: () => void }
  | { readonly kind: "open"; readonly connection: Connection; readonly cancel: () => void; readonly pulse: Pulse }
  | { readonly kind: "leaving"; readonly connection: Connection; readonly cancel: () => void }
  | { readonly kind: "closed" };

const protocolVersion = 1;
/** How long a welcome, and the end of a stream that we have closed, are waited for. */
const answerMaxMs = 10_000;

/** A server that says this to a hello says it to the next too. */
const fatalCodes: readonly number[] = [Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION];
/** So does this one, where it was never different: else it may be a proxy whose server is gone for a moment. */
const firstFatalCodes: readonly number[] = [Code.UNIMPLEMENTED, Code.UNAUTHENTICATED, Code.PERMISSION_DENIED];

export class Session {
  readonly #settings: SessionSettings;
  readonly #ports: SessionPorts;
  readonly #instanceId: string;
  readonly #backoff: Backoff;
  readonly #tasks: HeldTasks;
  #state: State = { kind: "closed" };
  /** Of the newest stream: what an older one still says is not heard. */
  #streamNumber = 0;
  #openedMono = 0;
  #keepalives = 0n;
  /** The newest there was. */
  #welcome: RunnerWelcome | undefined;
  #isDraining = false;
  #isOutageTold = false;

  constructor(settings: SessionSettings, ports: SessionPorts) {
    this.#settings = settings;
    this.#ports = ports;
    this.#instanceId = ports.random.id();
    this.#backoff = new Backoff(ports.random);
    const send = (message: RunRequest["message"]): void => this.#send(message);
    const forgotten = (): void => void this.#leaveIfDone();
    this.#tasks = new HeldTasks({ clock: ports.clock, post: ports.post, send, forgotten });
  }

  /** Opens the first stream. */
  start(): void {
    this.#connect();
  }

  /** Takes what the handlers' thread says. */
  receive(message: ToSession): void {
    switch (message.type) {
      case "accept":
        return this.#tasks.accept(message.fence);
      case "write":
        return this.#tasks.say({ case: "write", value: message.write });
      case "end":
        return this.#tasks.say({ case: "end", value: message.end });
      case "aborted": {
        const { taskId, fence, reason } = message;
        return this.#send({ case: "aborted", value: create(AbortReceivedSchema, { taskId, fence, reason }) });
      }
      case "drain":
        return this.#drain();
      case "stop":
        return this.#close();
    }
  }

  #connect(): void {
    const { clock, connect } = this.#ports;
    this.#streamNumber += 1;
    const number = this.#streamNumber;
    const whileNewest =
      <T>(take: (what: T) => void): ((what: T) => void) =>
      (what) => {
        if (this.#streamNumber === number) take(what);
      };
    const connection = connect({
      message: whileNewest((message: RunResponse) => this.#take(message)),
      ended: whileNewest((end: GrpcStatus) => this.#ended(end)),
    });
    // Not for as long as the lease: there has to be time for another try.
    const waitMs = this.#welcome === undefined ? answerMaxMs : Math.min(keepaliveMsOf(this.#welcome), answerMaxMs);
    const cancel = clock.after(waitMs, () => this.#broke("the server does not answer"));
    this.#state = { kind: "connecting", connection, cancel };
    connection.send({ case: "hello", value: this.#hello() });
  }

  #hello(): RunnerHello {
    this.#tasks.forgetOffers();
    const { controller, name, capacity, wantsCompleted } = this.#settings;
    return create(RunnerHelloSchema, {
      controller,
      runner: name,
      instanceId: this.#instanceId,
      capacity,
      protocolVersion,
      wantsCompleted,
      held: this.#tasks.describe(),
    });
  }

  #take({ message }: RunResponse): void {
    const { kind } = this.#state;
    if (kind === "connecting" && message.case === "welcome") return this.#welcomed(message.value);
    if (kind !== "open") return;
    switch (message.case) {
      case "keepalive":
        return this.#state.pulse.answered();
      case "offer":
        return this.#tasks.offered(message.value, this.#isDraining);
      case "written":
        this.#tasks.written(message.value);
        break;
      case "refused":
        this.#tasks.refused(message.value);
        break;
      case "abort":
        this.#tasks.aborted(message.value);
        break;
      default:
        // A message of a later version of the protocol.
        return;
    }
    this.#leaveIfDone();
  }

  #welcomed(welcome: RunnerWelcome): void {
    if (this.#state.kind !== "connecting") return;
    const { connection, cancel } = this.#state;
    cancel();
    this.#welcome = welcome;
    const { clock } = this.#ports;
    this.#openedMono = clock.mono();
    const pulse = new Pulse({
      clock,
      keepaliveMs: keepaliveMsOf(welcome),
      send: () => this.#sendKeepalive(connection),
      silent: () => this.#broke("the server does not answer any more"),
    });
    this.#state = { kind: "open", connection, pulse, cancel: () => pulse.stop() };
    this.#isOutageTold = false;
    const { target: server, controller } = this.#settings;
    this.#log("info", { server, controller }, "connected: tasks can be offered to this runner");
    this.#ports.post({ type: "limits", limits: welcome.limits });
    this.#tasks.reconcile(welcome);
    if (this.#isDraining) this.#sayDrain();
  }

  #sendKeepalive(connection: Connection): void {
    this.#keepalives += 1n;
    connection.send({ case: "keepalive", value: create(RunnerKeepaliveSchema, { number: this.#keepalives }) });
  }

  #send(message: RunRequest["message"]): void {
    if (this.#state.kind === "open") this.#state.connection.send(message);
  }

  #ended(end: GrpcStatus): void {
    const { kind } = this.#state;
    const why = `${Code[end.code] ?? end.code}: ${end.message}`;
    if (kind === "leaving") return this.#close();
    if (kind === "connecting") {
      const isFirst = this.#welcome === undefined;
      if (fatalCodes.includes(end.code) || (isFirst && firstFatalCodes.includes(end.code))) return this.#close(end);
    } else if (end.code === Code.INVALID_ARGUMENT) {
      this.#log("error", { tasks: this.#tasks.size }, `the server ended the stream, and with it the lease: ${why}`);
      this.#tasks.loseAll();
    }
    this.#broke(end.code === Code.OK ? "the server ended the stream" : why);
  }

  /** Gives up the stream there is, and tries again in a moment. */
  #broke(why: string): void {
    const { clock } = this.#ports;
    if (this.#state.kind === "open") this.#backoff.connectionBroke(clock.mono() - this.#openedMono);
    this.#dropStream();
    const delayMs = this.#backoff.nextMs();
    this.#state = { kind: "waiting", cancel: clock.after(delayMs, () => this.#connect()) };
    if (this.#leaveIfDone()) return;
    const fields = { server: this.#settings.target, why, tasks: this.#tasks.size };
    if (this.#isOutageTold) this.#log("debug", fields, "still not connected");
    else this.#log("warn", fields, "not connected: tasks go on, and the runner tries again");
    this.#isOutageTold = true;
  }

  #dropStream(): void {
    this.#streamNumber += 1;
    const state = this.#state;
    this.#state = { kind: "closed" };
    if (state.kind !== "closed") state.cancel();
    if ("connection" in state) state.connection.close();
    this.#tasks.disconnected();
  }

  #drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    this.#tasks.forgetOffers();
    this.#sayDrain();
  }

  #sayDrain(): void {
    this.#send({ case: "drain", value: create(RunnerDrainSchema) });
    this.#leaveIfDone();
  }

  /** Whether a drain has nothing left, and the session leaves. */
  #leaveIfDone(): boolean {
    if (!this.#isDraining || this.#tasks.size > 0) return false;
    if (this.#state.kind === "open") {
      const { connection, cancel } = this.#state;
      cancel();
      connection.end();
      this.#state = { kind: "leaving", connection, cancel: this.#ports.clock.after(answerMaxMs, () => this.#close()) };
    } else if (this.#state.kind !== "leaving") this.#close();
    return true;
  }

  /** Ends the session for good; with an error where the server does not want this runner. */
  #close(error?: GrpcStatus): void {
    if (this.#state.kind === "closed") return;
    this.#dropStream();
    this.#tasks.loseAll();
    this.#ports.post({ type: "closed", ...(error === undefined ? {} : { error }) });
  }

  #log(level: "debug" | "info" | "warn" | "error", fields: object, message: string): void {
    logTo(this.#ports.post, level, fields, message);
  }
}
