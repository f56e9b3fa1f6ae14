/** Gives requests of chance to servers without a port, one after the other, and judges each answer. */
import { expect } from "vitest";
import { SeededRandom } from "../support/seeded-random.ts";
import { type Asked, ask } from "./ask.ts";
import { type FuzzDose, printFigures, Tally } from "./fuzz-dose.ts";
import { isRefused, judgeAnswer, judgeStore } from "./judge.ts";
import type { Answer } from "./read-answer.ts";
import { fuzzedMethods, type MadeRequest } from "./requests.ts";
import { openFuzzWorld } from "./world.ts";

/** A request as it is sent. */
export interface FuzzInput {
  readonly made: MadeRequest;
  readonly asked: Asked;
  /** What was done to it, after it was made. */
  readonly change: string;
}

export interface WorldsOptions {
  readonly dose: FuzzDose;
  /** What the figures are called. */
  readonly name: string;
  /** What plays an input again, without the seed: the variable of the dose, and the file. */
  readonly variable: string;
  readonly file: string;
  /** All that may be done to a request. */
  readonly changes: readonly string[];
  readonly make: (random: SeededRandom) => FuzzInput;
  /** Whether it was looked at that the fields that are broken, and no others, are named. Throws where they are not. */
  readonly judgeFields: (input: FuzzInput, answer: Answer) => boolean;
}

/** Requests that a server gets before the next begins anew, with an empty store and the next seed. */
const perWorld = 4_000;

/** These are answered when something happens, or do not end by themselves. */
const patientMethods = new Set(["WatchTask", "WatchTasks", "WaitTask", "CancelTask", "Watch", "Backup", "Run"]);

export function isPatient({ method }: MadeRequest): boolean {
  return patientMethods.has(method.name);
}

/** Throws for the first answer that is wrong, with what plays it again; and where there was too little of anything. */
export async function runWorlds(options: WorldsOptions): Promise<void> {
  const { dose, make, judgeFields } = options;
  const beganMs = performance.now();
  const methods = new Tally();
  const changes = new Tally();
  const seen = new Tally<"answered" | "refused" | "left" | "named">();
  using _ = withoutStacks();
  const prototype = Object.getOwnPropertyNames(Object.prototype).join();
  for (let count = 0, world = 0; count < dose.count; world += 1) {
    const seed = dose.seed + world;
    const random = new SeededRandom(seed);
    await using served = await openFuzzWorld();
    let revision = await served.settled();
    for (let i = 0; i < perWorld && count < dose.count; i += 1, count += 1) {
      const input = make(random);
      try {
        const answer = await ask(served.requests, input.asked);
        judgeAnswer(answer);
        const isNamed = judgeFields(input, answer);
        // A stream has begun with what came before that for which it is refused.
        const isWhole = isNamed || input.made.method.methodKind !== "bidi_streaming";
        revision = isWhole ? await judgeStore(served, answer, revision) : await served.settled();
        if (served.errors.length > 0) throw new Error(served.errors.join("\n"));
        if (isNamed) seen.add("named");
        seen.add(answer.hasLeft ? "left" : isRefused(answer) ? "refused" : "answered");
      } catch (error) {
        throw describeFailure(
          error,
          input,
          `FUZZ_SEED=${seed} ${options.variable}=${i + 1} npx vitest run ${options.file}`,
        );
      }
      methods.add(input.made.method.name);
      changes.add(input.change);
    }
  }
  if (dose.isAsked) printFigures(options.name, dose, beganMs, `${seen}; ${methods}; ${changes}`);
  expect(Object.getOwnPropertyNames(Object.prototype).join()).toBe(prototype);
  for (const what of ["answered", "refused", "named"] as const) {
    expect(seen.of(what), what).toBeGreaterThan(dose.count / 20);
  }
  for (const { name } of fuzzedMethods) expect(methods.of(name), name).toBeGreaterThan(dose.count / 500 - 5);
  for (const kind of options.changes) expect(changes.of(kind), kind).toBeGreaterThan(dose.count / 1_000 - 3);
}

/** Each refusal is an error, and nobody reads where it was made. */
function withoutStacks(): Disposable {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  return {
    [Symbol.dispose]: () => {
      Error.stackTraceLimit = stackTraceLimit;
    },
  };
}

function describeFailure(error: unknown, { asked, change }: FuzzInput, command: string): Error {
  const { body, ...rest } = asked;
  const shown = {
    ...rest,
    change,
    text: body.subarray(0, 300).toString("latin1"),
    hex: body.subarray(0, 500).toString("hex"),
  };
  return new Error(`${String(error)}\n${JSON.stringify(shown)}\n${command}`, { cause: error });
}
