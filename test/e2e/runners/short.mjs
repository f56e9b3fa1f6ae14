/** A task with two writes of its own between its launch and its end. */
export const runner = {
  async onTaskRunning(task) {
    await task.addLogEntry("info", "under way");
    await task.setProgress({ current: 1, total: 1 });
    return { done: true };
  },
};
