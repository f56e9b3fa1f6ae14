// One request for each call, for docs/api.md. Pasted in this order against the server that `npm start` runs, each does
// what its call is for. `flags` are grpcurl's own.

/** By method: the request, and what to say of it where that is not plain. */
export const examples = {
  LaunchTask: {
    request: { controller: "countdown", task_id: "api", metadata: { limit: 300 }, labels: { team: "docs" } },
  },
  BatchLaunchTasks: {
    request: {
      requests: [
        { controller: "countdown", task_id: "api-1", metadata: { limit: 3 } },
        { controller: "countdown", task_id: "api-2", metadata: { limit: 5 } },
      ],
    },
  },
  CancelTask: { request: { controller: "countdown", task_id: "api", reason: "an example", wait: "5s" } },
  GetTaskStatus: { request: { controller: "countdown", task_id: "api" } },
  ListTasks: { request: { controller: "countdown", states: ["Completed", "Canceled"], order_by: "TASK_ORDER_NEWEST" } },
  ListTaskLogs: { request: { controller: "countdown", task_id: "api", page_size: 5 } },
  WatchTask: { request: { controller: "countdown", task_id: "api-1", include_logs: true } },
  WatchTasks: {
    request: { controller: "countdown", id_prefix: "api" },
    flags: "-max-time 3",
    note: "It goes on until it is stopped; `-max-time 3` does that after three seconds.",
  },
  WaitTask: { request: { controller: "countdown", task_id: "api-2", timeout: "10s" } },
  DeleteTask: { request: { controller: "countdown", task_id: "api-2" } },
  ListControllers: { request: {} },
  Backup: {
    request: {},
    flags: "-max-msg-sz 1000000",
    note: "It prints the bytes of a file in pieces, in base64; `stint store backup` writes the file.",
  },
  DeleteController: {
    request: { controller: "countdown" },
    note: "This one is refused (FAILED_PRECONDITION): the configuration names it, and it has tasks.",
  },
  GetServerInfo: { request: {} },
  Run: {
    request: {
      hello: {
        controller: "api-runner",
        runner: "me",
        instance_id: "0123456789abcdef",
        capacity: 1,
        protocol_version: 1,
      },
    },
    note: "It says hello, is welcome, and leaves. [The runner protocol](protocol.md#by-hand) shows how grpcurl runs a task.",
  },
};
