/** A remote runner of a world: the session and the handlers of `stint/runner`, as they are, over a stream of the simulated network. */
import { create } from "@bufbuild/protobuf";
import { Code } from "#gen/google/rpc/code_pb.js";
import {
  type TaskOffer,
  RunRequestSchema,
  type RunRequest,
  type RunResponse,
  RunResponseSchema,
} from "#gen/stint/v1/runner_pb.js";
import { ControllerError } from "../../src/controller/error.ts";
import type { Attachment, Detachment, RemoteRunners, RunnerLink } from "../../src/controller/remote-link.ts";
import { silentLog } from "../../src/log.ts";
import type { Connection, ConnectionEvents } from "../../src/runner-client/connection.ts";
import { HostedTasks } from "../../src/runner-client/hosted-tasks.ts";
import { Session } from "../../src/runner-client/session.ts";
import type { GrpcStatus, ToHandlers, ToSession } from "../../src/runner-client/thread-messages.ts";
import { controllerName, type Ledger } from "./ledger.ts";
import { type Network, Pipe } from "./network.ts";
import type { Server } from "./server.ts";
import { createSimRandom, type Sim, type SimNode } from "./sim.ts";
import { createWorker } from "./work.ts";

export interface RunnerParts {
  readonly sim: Sim;
  readonly network: Network;
  readonly server: Server;
  readonly ledger: Ledger;
  readonly capacity: number;
}

type Said = RunRequest["message"] | "end" | "close";
type Told = RunResponse["message"] | { readonly case: "ended"; readonly value: GrpcStatus };

export class SimRunner {
  readonly #parts: RunnerParts;
  readonly #name: string;
  #node: SimNode | undefined;
  #lives = 0;

  constructor(parts: RunnerParts, name: string) {
    this.#parts = parts;
    this.#name = name;
    this.#start();
  }

  /** Its process dies, and another comes after so long. */
  crash(downMs: number): boolean {
    if (this.#node === undefined) return false;
    this.#node.kill();
    this.#node = undefined;
    const { sim, network } = this.#parts;
    sim.at(downMs, network.node, "runner starts", () => this.#start());
    return true;
  }

  pause(ms: number): boolean {
    this.#node?.pause(ms);
    return this.#node !== undefined;
  }

  resume(): void {
    this.#node?.resume();
  }

  #start(): void {
    const { sim, ledger, capacity } = this.#parts;
    this.#lives += 1;
    const node = sim.node(`${this.#name} ${this.#lives}`);
    this.#node = node;
    // Two threads: what one says to the other comes in order, and not at once.
    const toHandlers = new Pipe<ToHandlers>(this.#parts.network, node, "to handlers", (message) =>
      tasks.receive(message),
    );
    const toSession = new Pipe<ToSession>(this.#parts.network, node, "to session", (message) =>
      session.receive(message),
    );
    const closed = (error?: GrpcStatus): void => {
      ledger.broken(`a runner was closed: ${error?.message}`);
    };
    const tasks = new HostedTasks({
      runner: createWorker(ledger, node, { isRemote: true, prepares: true }),
      capacity,
      log: silentLog,
      clock: node,
      drainMs: 10_000,
      post: (message) => toSession.push(message),
      closed,
    });
    const settings = { target: "here:1", ca: undefined, controller: controllerName, name: this.#name };
    const session = new Session(
      { ...settings, capacity, wantsCompleted: true },
      {
        clock: node,
        random: createSimRandom(sim.random.fork(), `${this.#name}-${this.#lives}`),
        post: (message) => toHandlers.push(message),
        connect: (events) => connect(this.#parts, node, events),
      },
    );
    session.start();
  }
}

/** A stream: what the runner says goes to the process that was there when its hello came. */
function connect({ sim, network, server, ledger }: RunnerParts, node: SimNode, events: ConnectionEvents): Connection {
  let isOver = false;
  let up: Pipe<Said> | undefined;
  const saidBefore: Said[] = [];
  const down = new Pipe<Told>(network, node, "to runner", (told) => {
    if (isOver) return;
    if (told.case === "ended") end(told.value);
    else events.message(create(RunResponseSchema, { message: told }));
  });
  const end = (status: GrpcStatus): void => {
    if (isOver) return;
    isOver = true;
    forget();
    events.ended(status);
  };
  const broke = (): void => network.send(node, "stream broke", () => end({ code: Code.UNAVAILABLE, message: "gone" }));
  let detach = (_how: Detachment): void => {};
  const forget = network.stream(() => {
    broke();
    detach("broken");
  });
  const arrive = (): void => {
    const { process } = server;
    if (process?.runners === undefined) return broke();
    void process.node.died.then(broke);
    const stream = new ServedStream(process.runners, down, {
      offered: (offer) => ledger.offered(offer.taskId, offer.fence, offer.phase),
      heard: (instanceId) => ledger.leases.heard(instanceId),
    });
    detach = (how) => sim.at(0, process.node, "detach", () => stream.detach(how));
    up = new Pipe<Said>(network, process.node, "from runner", (said) => stream.take(said));
    for (const said of saidBefore.splice(0)) up.push(said);
  };
  network.send(network.node, "connect", arrive);
  const say = (said: Said): void => {
    if (up === undefined) saidBefore.push(said);
    else up.push(said);
    // A stream that loses something is broken.
    if (network.loses()) {
      broke();
      detach("broken");
    }
  };
  return {
    send: (message) => say(message),
    end: () => say("end"),
    close: () => {
      isOver = true;
      forget();
      say("close");
    },
  };
}

/** What of a stream is written down. */
interface Noted {
  readonly offered: (offer: TaskOffer) => void;
  readonly heard: (instanceId: string) => void;
}

/** The server's side of it, as the service has it. */
class ServedStream implements RunnerLink {
  readonly #runners: RemoteRunners;
  readonly #noted: Noted;
  readonly #down: Pipe<Told>;
  #instanceId = "";
  #attachment: Attachment | undefined;
  /** What it is told before the welcome has been sent. */
  #early: Array<() => void> | undefined = [];
  #isOver = false;

  constructor(runners: RemoteRunners, down: Pipe<Told>, noted: Noted) {
    this.#runners = runners;
    this.#down = down;
    this.#noted = noted;
  }

  take(said: Said): void {
    if (this.#isOver) return;
    if (said === "close") return this.detach("broken");
    if (said === "end") {
      this.detach("finished");
      return this.#down.push({ case: "ended", value: { code: 0, message: "" } });
    }
    try {
      if (said.case === "hello") this.#instanceId = said.value.instanceId;
      this.#noted.heard(this.#instanceId);
      if (said.case === "hello") this.#hello(said.value);
      else void this.#attachment?.receive(create(RunRequestSchema, { message: said }));
    } catch (error) {
      if (!(error instanceof ControllerError)) throw error;
      this.detach("invalid");
      this.#down.push({ case: "ended", value: statusOf(error) });
    }
  }

  detach(how: Detachment): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#attachment?.detach(how);
  }

  keepalive: RunnerLink["keepalive"] = (value) => this.#tell(() => this.#down.push({ case: "keepalive", value }));
  abort: RunnerLink["abort"] = (value) => this.#tell(() => this.#down.push({ case: "abort", value }));
  written: RunnerLink["written"] = (value) => this.#tell(() => this.#down.push({ case: "written", value }));

  refuse: RunnerLink["refuse"] = ({ taskId, fence, seq, error }) => {
    const refused = { taskId, fence, seq, error: statusOf(error) };
    this.#tell(() =>
      this.#down.push(create(RunResponseSchema, { message: { case: "refused", value: refused } }).message),
    );
  };

  offer: RunnerLink["offer"] = (load) => {
    this.#tell(() => {
      new Promise<TaskOffer | undefined>((resolve) => resolve(load())).then(
        (value) => {
          if (value === undefined || this.#isOver) return;
          this.#noted.offered(value);
          this.#down.push({ case: "offer", value });
        },
        () => {},
      );
    });
  };

  close: RunnerLink["close"] = (error) => {
    this.#tell(() => {
      this.#isOver = true;
      this.#down.push({ case: "ended", value: statusOf(error) });
    });
  };

  #hello(hello: Parameters<RemoteRunners["attach"]>[0]): void {
    this.#attachment = this.#runners.attach(hello, this);
    this.#down.push({ case: "welcome", value: this.#attachment.welcome });
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const tell of early) tell();
  }

  #tell(tell: () => void): void {
    if (this.#isOver) return;
    if (this.#early === undefined) tell();
    else this.#early.push(tell);
  }
}

function statusOf(error: ControllerError): GrpcStatus {
  return { code: Code[error.code], message: error.message };
}
