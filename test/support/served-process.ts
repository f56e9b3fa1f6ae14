/** The program as a process of its own, which tests kill. Needs dist/ (npm run build). */
import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { TaskControllerService } from "#gen/stint/v1/controller_pb.js";
import { CanaryWatch, canaryEnvironment, sendCanary } from "./canary.ts";

export const repositoryRoot = fileURLToPath(new URL("../../", import.meta.url));

const startMaxMs = 30_000;
const complaintsMax = 100;

export interface ServedProcessOptions {
  /** The store's. */
  readonly directory: string;
  readonly config: string;
  /** A program and its arguments that start the server's in the same process. */
  readonly under?: readonly string[];
}

/** `stint serve` on one port and one directory, whatever happens to its process. */
export class ServedProcess implements AsyncDisposable {
  readonly client: Client<typeof TaskControllerService>;
  readonly port: number;
  readonly baseUrl: string;
  /** What it logged as an error or worse, and what it wrote that is no log line; the first hundred. */
  readonly complaints: string[] = [];
  readonly #command: readonly string[];
  /** Of all its processes. */
  readonly #canaryWatch = new CanaryWatch();
  #process: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #said = "";

  private constructor(port: number, options: ServedProcessOptions) {
    this.port = port;
    this.baseUrl = `http://127.0.0.1:${port}`;
    const main = join(repositoryRoot, "dist/cli/main.js");
    const address = ["--listen", `127.0.0.1:${port}`, "--data-dir", options.directory];
    this.#command = [
      ...(options.under ?? []),
      process.execPath,
      main,
      "serve",
      "--config",
      options.config,
      "--no-banner",
      ...address,
    ];
    this.client = this.connect();
  }

  /** On a port that is free now; nothing is started. */
  static async create(options: ServedProcessOptions): Promise<ServedProcess> {
    return new ServedProcess(await freePort(), options);
  }

  /** A client with connections of its own; `baseUrl` is something in front of the server. */
  connect(baseUrl = this.baseUrl): Client<typeof TaskControllerService> {
    return createClient(TaskControllerService, createGrpcTransport({ baseUrl, interceptors: [sendCanary] }));
  }

  get isAlive(): boolean {
    return this.#process !== undefined && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** Whether the process that was started last was ended by SIGKILL. */
  get wasKilled(): boolean {
    return this.#process?.signalCode === "SIGKILL";
  }

  /** Resolves when the process that was started last is gone, and all that it has said was read. */
  get exited(): Promise<void> {
    return this.#exited;
  }

  /** Starts a process, and waits for nothing. `env` is added to this process's environment. */
  launch(env: Readonly<Record<string, string>> = {}): void {
    const [program = "", ...args] = this.#command;
    const started = spawn(program, args, {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, ...canaryEnvironment, ...env },
    });
    this.#process = started;
    this.#exited = new Promise((resolve) => started.once("close", () => resolve()));
    this.#said = "";
    let rest = "";
    started.stderr?.on("data", (data: Buffer) => {
      this.#said = (this.#said + data.toString()).slice(-4_000);
      this.#canaryWatch.take(data.toString());
      const lines = (rest + data.toString()).split("\n");
      rest = lines.pop() ?? "";
      this.complaints.push(...lines.filter(isComplaint).slice(0, complaintsMax - this.complaints.length));
    });
  }

  /** Resolves when the process serves. Throws where it ends before that. */
  async served(): Promise<void> {
    for (const untilMs = Date.now() + startMaxMs; ; await sleep(20)) {
      try {
        await this.client.listControllers({}, { timeoutMs: 1_000 });
        return;
      } catch (error) {
        if (this.isAlive && Date.now() < untilMs) continue;
        throw new Error(`the server is not up: ${this.#said}`, { cause: error });
      }
    }
  }

  /** Launches a process and waits until it serves. */
  async start(env: Readonly<Record<string, string>> = {}): Promise<void> {
    this.launch(env);
    await this.served();
  }

  /** Ends the process with SIGKILL, and resolves when it is gone. */
  async kill(): Promise<void> {
    if (this.isAlive) this.#process?.kill("SIGKILL");
    await this.#exited;
  }

  /** Asks the process to stop; resolves to its exit code. */
  async stop(): Promise<number | null> {
    this.#process?.kill("SIGTERM");
    await this.#exited;
    return this.#process?.exitCode ?? null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    this.#canaryWatch.check();
  }
}

function isComplaint(line: string): boolean {
  try {
    const { level } = JSON.parse(line) as { level?: string };
    return level === "error" || level === "fatal";
  } catch {
    return true;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}
