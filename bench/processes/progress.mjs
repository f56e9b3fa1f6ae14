// A runner whose tasks set their progress metadata.perSecond times a second until they are to stop, whatever becomes of what they have said
// before; with a message of metadata.messageBytes. It is a module of the server, and the work of a remote runner, too.
import { setTimeout as sleep } from "node:timers/promises";

export const runner = {
  async onTaskRunning(task, { signal }) {
    const { perSecond, messageBytes = 0 } = await task.loadTaskMetadata();
    const everyMs = Math.max(1, 1_000 / perSecond);
    const message = "m".repeat(messageBytes);
    // Many tasks that begin at the same moment are not to go on at the same moments, and those that were late together not from then on.
    const since = performance.now() + Math.random() * everyMs;
    for (let current = 0; ; ) {
      const nextMs = since + ((current + 1) * 1_000) / perSecond - performance.now();
      await sleep(Math.max(Math.min(1, everyMs), nextMs), undefined, { signal });
      const due = ((performance.now() - since) * perSecond) / 1_000;
      // What is not on disk when the task stops is rejected, and nobody waits for it.
      while (current < due) task.setProgress({ current: (current += 1), message }).catch(() => {});
    }
  },
};
