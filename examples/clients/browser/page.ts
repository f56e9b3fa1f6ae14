// What the page does: launches a countdown, watches it to its end, over restarts of the server, and reads it back.
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { TaskState } from "#gen/core/v1/core_pb.js";
import { TaskControllerService } from "#gen/stint/v1/controller_pb.js";

const controller = "countdown";
const query = new URLSearchParams(location.search);
const baseUrl = query.get("server") ?? "http://localhost:7846";
const createTransport = query.get("protocol") === "grpc-web" ? createGrpcWebTransport : createConnectTransport;
const client = createClient(TaskControllerService, createTransport({ baseUrl }));

const element = (id: string): HTMLElement => document.getElementById(id) as HTMLElement;

element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const taskId = (element("task") as HTMLInputElement).value;
  run(taskId).catch((error: unknown) => show("state", ConnectError.from(error).message));
});

async function run(taskId: string): Promise<void> {
  // The same request id makes it safe to ask again: there is one launch, however often it is asked for.
  const request = {
    controller,
    taskId,
    payload: { case: "jsonMetadata" as const, value: '{"limit": 40, "intervalMs": 100}' },
    requestId: `page-${taskId}`,
  };
  await untilServed(() => client.launchTask(request));

  // A stream that breaks is continued from the last revision.
  let sinceRevision = 0n;
  await untilServed(async () => {
    for await (const change of client.watchTask({ controller, taskId, sinceRevision, includeLogs: true })) {
      sinceRevision = change.revision;
      show("note", "");
      for (const { msg } of change.logs) element("log").append(`${msg}\n`);
      const { state, progress } = change.status ?? {};
      if (state !== undefined) show("state", TaskState[state]);
      if (progress === undefined) continue;
      const bar = element("progress") as HTMLProgressElement;
      bar.max = Number(progress.total);
      bar.value = Number(progress.current);
    }
  });
  const { status } = await untilServed(() => client.getTaskStatus({ controller, taskId }));
  show("result", status?.result ?? "");
}

/** Does `body`, again and again while the server is away. */
async function untilServed<T>(body: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await body();
    } catch (error) {
      if (!isAway(error)) throw error;
      show("note", `the server is away (${error.message})`);
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  }
}

/** Whether the server is away: it says so itself, or the browser has a TypeError for what became of the request or its answer. */
function isAway(error: unknown): error is ConnectError {
  return error instanceof ConnectError && (error.code === Code.Unavailable || error.cause instanceof TypeError);
}

function show(id: string, text: string): void {
  element(id).textContent = text;
}
