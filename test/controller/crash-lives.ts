/** What happens in the lives of a task that ./crash-everywhere.test.ts cuts short. */
import type { HarnessOptions } from "../support/controller-harness.ts";
import type { Life } from "./crash-life.ts";

export interface LifeScript {
  readonly options?: HarnessOptions;
  run(life: Life): Promise<void>;
}

const large = { metadata: { text: "m".repeat(3_000) }, labels: { l: "1" } };
const month = 30 * 24 * 3_600_000;

export const lives: Readonly<Record<string, LifeScript>> = {
  "work and completion": {
    async run(life) {
      await life.launch({ ...large, requestId: "r" });
      (await life.work()).return("r".repeat(3_000));
      await life.settle();
    },
  },
  "a failure and a relaunch": {
    async run(life) {
      await life.launch(large);
      (await life.work()).throw(new Error("no"));
      await life.settle();
      await life.launch({ labels: { l: "2" } });
      (await life.work()).return();
      await life.settle();
    },
  },
  "a cancel": {
    async run(life) {
      await life.launch(large);
      const phase = await life.work();
      await life.cancel();
      await life.settle();
      phase.stop();
      await life.settle();
    },
  },
  "a restart, replaced by another": {
    async run(life) {
      await life.launch(large);
      const phase = await life.work();
      await life.launch({ requestId: "r1" });
      await life.launch({ requestId: "r2", metadata: { n: 2 } });
      phase.stop();
      (await life.work()).return();
      await life.settle();
    },
  },
  "a cancel, and a launch on top of it": {
    async run(life) {
      await life.launch(large);
      const phase = await life.phase();
      await life.cancel();
      await life.launch({ metadata: { n: 2 } });
      phase.stop();
      (await life.work()).return();
      await life.settle();
    },
  },
  "an end, a deletion and a new task": {
    async run(life) {
      await life.launch(large);
      (await life.work()).return("r".repeat(3_000));
      await life.settle();
      await life.delete();
      await life.launch({ labels: { l: "2" } });
      (await life.work()).return();
      await life.settle();
    },
  },
  "waiting, a restart and a cancel while it waits": {
    options: { concurrency: 1 },
    async run(life) {
      await life.h.launch("busy");
      await life.launch(large);
      await life.launch({ labels: { l: "2" } });
      await life.cancel();
      (await life.phase("busy")).return();
      await life.settle();
    },
  },
  "two closings": {
    options: { concurrency: 1 },
    async run(life) {
      await life.launch(large);
      await life.h.launch("waits");
      await life.work();
      await life.close();
      await life.open();
      (await life.phase()).return();
      await life.phase("waits");
      await life.close();
      await life.open();
      (await life.phase("waits")).return();
      await life.settle();
    },
  },
  "a month in which what has ended is swept": {
    options: { retention: { afterEndMs: 1_000 } },
    async run(life) {
      await life.launch(large);
      await life.h.launch("b", large);
      const b = await life.phase("b");
      await b.task.addLogEntry("info", "x");
      b.return("r".repeat(3_000));
      await life.work();
      await life.h.clock.advance(60_000);
      life.h.clock.jumpWall(month);
      await life.h.clock.advance(60_000);
      (await life.phase()).return();
      await life.settle();
    },
  },
  "openings that clean": {
    options: { retention: {} },
    async run(life) {
      await life.h.launch("b", large);
      (await life.phase("b")).return("r".repeat(3_000));
      await life.h.launch("c", large);
      const c = await life.phase("c");
      await c.task.addLogEntry("info", "x");
      c.throw(new Error("no"));
      await life.launch(large);
      await life.work();
      await life.close();
      await life.open();
      (await life.phase()).return();
      await life.settle();
    },
  },
};
