/** A process of its own for a runner that keeps to nothing: says "ready", goes on for so long, and says how much it has done. */
import { attacks } from "./hostile-runners.ts";

/** What it is started with, as JSON. */
export interface HostileArguments {
  /** HOST:PORT of the server. */
  readonly address: string;
  /** Which of `attacks`. */
  readonly name: string;
  /** The task of the honest one, and its fence. */
  readonly taskId: string;
  readonly fence: string;
  readonly forMs: number;
}

const { address, name, taskId, fence, forMs } = JSON.parse(process.argv[2] ?? "") as HostileArguments;
const attack = attacks.find((each) => each[0] === name)?.[2];
if (attack === undefined) throw new Error(`there is no ${name}`);
process.stdout.write("ready\n");
const target = { taskId, fence: BigInt(fence) };
process.stdout.write(`${await attack({ address, target, untilMs: performance.now() + forMs })}\n`);
process.exit(0);
