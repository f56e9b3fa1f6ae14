import { type ChildProcess, spawn } from "node:child_process";

const bannerMaxMs = 60_000;

/** `npm start` as in a terminal of its own. */
export class NpmStart implements AsyncDisposable {
  /** Resolves to npm's exit code; to a signal's name where that ended it. */
  readonly exited: Promise<number | NodeJS.Signals | null>;
  readonly #npm: ChildProcess;
  #stderr = "";

  constructor(directory: string, ...args: readonly string[]) {
    // A group of its own, as a terminal's foreground is.
    this.#npm = spawn("npm", ["start", "--", ...args], { cwd: directory, detached: true });
    this.#npm.stderr?.on("data", (data: Buffer) => {
      this.#stderr += data.toString();
    });
    this.exited = new Promise((resolve) => this.#npm.once("close", (code, signal) => resolve(code ?? signal)));
  }

  /** All that was written to stderr. */
  get stderr(): string {
    return this.#stderr;
  }

  /** Resolves to the commands to paste, and where the server is, once the banner is there. */
  async banner(): Promise<{ readonly commands: string[]; readonly address: string }> {
    const gone = this.exited.then((code) => Promise.reject(new Error(`npm start ended with ${code}: ${this.#stderr}`)));
    const late = AbortSignal.timeout(bannerMaxMs);
    while (!/--watch.*\n/.test(this.#stderr)) {
      if (late.aborted) throw new Error(`no banner: ${this.#stderr}`);
      await Promise.race([new Promise((resolve) => this.#npm.stderr?.once("data", resolve)), gone, aborted(late)]);
    }
    const commands = [...this.#stderr.matchAll(/^ {2}(\S.*)$/gm)].map(([, command = ""]) => command);
    return { commands, address: /serves at (\S+:\d+)/.exec(this.#stderr)?.[1] ?? "" };
  }

  /** Ctrl-C: the terminal sends SIGINT to the whole group. */
  interrupt(): void {
    this.#signalGroup("SIGINT");
  }

  /** SIGTERM for npm alone, as from a supervisor that knows no other process. */
  terminate(): void {
    this.#npm.kill("SIGTERM");
  }

  /** SIGKILL for all. */
  async kill(): Promise<void> {
    this.#signalGroup("SIGKILL");
    await this.exited;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }

  #signalGroup(signal: NodeJS.Signals): void {
    try {
      if (this.#npm.pid !== undefined) process.kill(-this.#npm.pid, signal);
    } catch (error) {
      // The group has ended already.
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
