/**
 * A server in a process of its own, and remote runners in others, which count the lines of files: the first has one line, the second
 * two, and so on. Runners are in "node" (test/e2e/runners/count-lines.ts), and those of examples/remote.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "vitest";
import type { TaskStatus } from "#gen/core/v1/core_pb.js";
import { StateCompleted } from "../../../src/task/state.ts";
import { canary } from "../../support/canary.ts";
import { eventually } from "../../support/eventually.ts";
import { makeScratchDirectory } from "../../support/scratch-directory.ts";
import { repositoryRoot, ServedProcess } from "../../support/served-process.ts";
import type { LedgerFact } from "../runners/count-lines.ts";
import { openRelay, type Relay } from "./relay.ts";

export const controller = "count";
/** As short as the configuration allows. */
export const leaseMs = 5_000;
const maxMs = 60_000;

export interface CompletedTask {
  readonly status: TaskStatus;
  /** The log entries about writes that were refused. */
  readonly refused: readonly string[];
}

export type RemoteWorld = Awaited<ReturnType<typeof openRemoteWorld>>;

/** Builds what the runner in this language is made of, once, and not by several that are started side by side. */
export async function buildRunner(language: string): Promise<void> {
  if (language !== "node") await promisify(execFile)(programOf(language));
}

/** What starts the runner in this language. */
export function programOf(language: string): string {
  return join(repositoryRoot, "examples/remote", language, "run");
}

/** Whether a task's `runner` is this process; names end with the process id. */
export function isRunner(name: string, { pid }: ChildProcess): boolean {
  return new RegExp(`[-:]${pid}$`).test(name);
}

export async function openRemoteWorld(filesCount: number, serverLeaseMs = leaseMs) {
  const scratch = await makeScratchDirectory();
  const files = join(scratch.path, "files");
  const ledger = join(scratch.path, "ledger");
  const store = join(scratch.path, "store");
  await mkdir(files);
  for (let n = 1; n <= filesCount; n++) {
    await writeFile(join(files, `${String(n).padStart(3, "0")}.txt`), "line\n".repeat(n));
  }
  await writeFile(ledger, "");
  const config = join(scratch.path, "stint.yaml");
  const limits = `limits: { leaseMs: ${serverLeaseMs} }`;
  await writeFile(config, `${limits}\ncontrollers: [{ name: ${controller}, runner: { remote: {} } }]\n`);
  const server = await ServedProcess.create({ directory: store, config });
  await server.start();
  const children: ChildProcess[] = [];
  const relays: Relay[] = [];
  const counter = join(repositoryRoot, "test/e2e/runners/count-lines.ts");
  return {
    server,
    store,
    filesCount,
    start(language: string, target = server.baseUrl.replace("http://", "")): ChildProcess {
      const child =
        language === "node"
          ? spawn(process.execPath, ["--import", import.meta.resolve("tsx"), counter, target, controller, ledger], {
              stdio: "inherit",
            })
          : spawn(programOf(language), [target, controller], { stdio: "inherit" });
      children.push(child);
      return child;
    },
    async relay(): Promise<Relay> {
      const relay = await openRelay(Number(new URL(server.baseUrl).port));
      relays.push(relay);
      return relay;
    },
    async launch(pauseMs: number, ...taskIds: readonly string[]): Promise<void> {
      const value = JSON.stringify({ files: join(files, "*.txt"), pauseMs, canary });
      for (const taskId of taskIds) {
        await server.client.launchTask({ controller, taskId, payload: { case: "jsonMetadata", value } });
      }
    },
    async status(taskId: string): Promise<TaskStatus> {
      const { status } = await server.client.getTaskStatus({ controller, taskId });
      if (status === undefined) throw new Error(`${taskId} has no status`);
      return status;
    },
    /** Resolves when the task has run to its end, and checks that its count is right and that each file is in its log, once. */
    async completed(taskId: string): Promise<CompletedTask> {
      await eventually(async () => {
        const { state, runner, attempt, waitingFor, transitions } = await this.status(taskId);
        const seen = transitions.map(({ state: each, reason }) => `${each} ${reason}`).join("; ");
        expect(state, `${runner} has it, attempt ${attempt}, waits for "${waitingFor}": ${seen}`).toBe(StateCompleted);
      }, maxMs);
      const status = await this.status(taskId);
      expect(JSON.parse(status.result ?? "")).toEqual({
        files: filesCount,
        lines: (filesCount * (filesCount + 1)) / 2,
      });
      const { entries } = await server.client.listTaskLogs({ controller, taskId, pageSize: 1_000 });
      const refused = entries.map(({ msg }) => msg).filter((msg) => msg.startsWith("refused of runner "));
      const counted = entries
        .filter(({ msg }) => !msg.startsWith("refused of runner "))
        .map(({ msg }) => /(\d+)\.txt["'] has \d+ lines$/.exec(msg)?.[1])
        .filter((name) => name !== undefined);
      expect(counted.map(Number), taskId).toEqual(Array.from({ length: filesCount }, (_, i) => i + 1));
      return { status, refused };
    },
    /** What runners in Node were told until now. */
    async ledger(): Promise<LedgerFact[]> {
      const lines = (await readFile(ledger, "utf8")).split("\n").filter((line) => line !== "");
      return lines.map((line) => JSON.parse(line) as LedgerFact);
    },
    async [Symbol.asyncDispose]() {
      for (const child of children) child.kill("SIGKILL");
      await server.kill();
      for (const relay of relays) await relay[Symbol.asyncDispose]();
      await scratch[Symbol.asyncDispose]();
    },
  };
}
