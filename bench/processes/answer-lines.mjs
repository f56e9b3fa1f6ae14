// A process of a benchmark: it is asked for one thing after the other, a line of JSON each on stdin, and answers with a line
// of JSON on stdout. It ends with its stdin, and so with who has started it, whatever becomes of that.
import { createInterface } from "node:readline";

/** Answers each `{verb, ...}` with what `verbs[verb]` resolves to. What it throws is answered as `{error}`. */
export async function answerLines(verbs) {
  for await (const line of createInterface(process.stdin)) {
    const { verb, ...asked } = JSON.parse(line);
    let answer;
    try {
      answer = { answer: (await verbs[verb](asked)) ?? {} };
    } catch (error) {
      answer = { error: error instanceof Error ? error.stack : String(error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  process.exit();
}
