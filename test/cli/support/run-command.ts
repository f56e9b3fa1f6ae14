import { runProgram } from "../../../src/cli/program.ts";
import { createFakeIo, type FakeIoOptions, hastyClock } from "./fake-io.ts";
import { type FakeHandlers, openFakeServer } from "./fake-server.ts";

/** What a command line did. */
export interface CommandOutcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command line of stint in this process, against a fake server where handlers are given. */
export async function runCommand(
  args: string[],
  handlers?: FakeHandlers,
  options: FakeIoOptions = {},
): Promise<CommandOutcome> {
  await using server = handlers && (await openFakeServer(handlers));
  const env = { ...(server ? { STINT_SERVER: server.address } : {}), ...options.env };
  const io = createFakeIo({ clock: hastyClock, ...options, env });
  const code = await runProgram(args, io);
  return { code, out: io.stdout.text, err: io.stderr.text };
}

/** A line of JSON each. */
export function parseLines(out: string): Record<string, unknown>[] {
  return out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** Keeps a request, and answers it. */
export function keep<R, A>(requests: R[], request: R, answer: A): A {
  requests.push(request);
  return answer;
}
