// A remote runner as docs/runners.md has it, whose tasks do nothing, or set progress as their metadata says. It notes how long after
// their launch tasks reach it.
import { build } from "hdr-histogram-js";
import { runRemote } from "stint/runner";
import { answerLines } from "./answer-lines.mjs";
import { runner as progress } from "./progress.mjs";

const histogram = build({
  lowestDiscernibleValue: 1,
  highestTrackableValue: 60_000_000,
  numberOfSignificantValueDigits: 3,
});
let closed = Promise.resolve();
let drain = () => closed;

await answerLines({
  /** Connects to the server; it may take tasks by the time that it is. */
  async connect({ address, controller, capacity, setsProgress = false }) {
    ({ closed, drain } = runRemote({
      target: address,
      controller,
      capacity,
      runner: setsProgress ? progress : { onTaskPending, onTaskRunning() {} },
    }));
    closed.catch((error) => console.error(error));
  },
  /** What was noted since it was asked last. */
  async taken() {
    const [p50Ms, p99Ms] = [50, 99].map((percent) => histogram.getValueAtPercentile(percent) / 1_000);
    const count = histogram.totalCount;
    histogram.reset();
    return { count, p50Ms, p99Ms };
  },
  drain: () => drain(),
});

async function onTaskPending(task) {
  const now = performance.timeOrigin + performance.now();
  const { at } = await task.loadTaskMetadata();
  histogram.recordValue(Math.max(1, Math.round((now - at) * 1_000)));
}
