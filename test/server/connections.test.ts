import { once } from "node:events";
import { connect as connectSocket } from "node:net";
import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { WatchTaskRequestSchema } from "#gen/stint/v1/controller_pb.js";
import { StateCompleted, StateRunning } from "../../src/task/state.ts";
import { callError } from "../support/call-error.ts";
import { eventually } from "../support/eventually.ts";
import { serveFake } from "../support/served-fake.ts";
import { envelope, grpcHeaders, http2Request, openHttp2, requestOn, sendBytes } from "../support/raw-http.ts";

const task = { controller: "countdown", taskId: "a" };

describe("a deadline", () => {
  const statusHeaders = { ...grpcHeaders, ":path": "/stint.v1.TaskControllerService/ListControllers" };

  test.each([
    ["absent", undefined, 0],
    ["huge", "99999999H", 0],
    ["of 24 h", "24H", 0],
    ["past already", "0n", 4],
    ["malformed", "soon", 3],
    ["negative", "-1S", 3],
    ["too many digits", "999999999S", 3],
  ])("that is %s gets the status it should", async (_, timeout, status) => {
    await using served = await serveFake();
    const headers = { ...statusHeaders, ...(timeout === undefined ? {} : { "grpc-timeout": timeout }) };
    expect((await http2Request(served.port, headers)).grpcStatus).toBe(status);
  });

  test.each([
    ["9999999999", 200],
    ["0", 504],
    ["soon", 400],
  ])("of Connect that is %s gets the status it should", async (timeout, status) => {
    await using served = await serveFake();
    const answer = await fetch(`${served.baseUrl}/stint.v1.TaskControllerService/ListControllers`, {
      method: "POST",
      headers: { "content-type": "application/json", "connect-timeout-ms": timeout },
      body: "{}",
    });
    expect(answer.status).toBe(status);
  });

  test.each([
    ["application/grpc", { "grpc-timeout": "99999999H" }],
    ["application/connect+proto", { "connect-timeout-ms": "9999999999" }],
  ])("of a stream that is far too long is clamped, not refused, as %s", async (contentType, timeout) => {
    await using served = await serveFake();
    served.controller.put("a", { state: StateRunning });
    const headers = { ...grpcHeaders, ":path": "/stint.v1.TaskControllerService/WatchTask" };
    const message = toBinary(WatchTaskRequestSchema, create(WatchTaskRequestSchema, task));
    const answer = http2Request(
      served.port,
      { ...headers, "content-type": contentType, ...timeout },
      envelope(message),
    );
    await eventually(() => expect(served.controller.openWatches).toBe(1));
    served.controller.put("a", { state: StateCompleted });
    const { status, body } = await answer;
    expect([status, body.byteLength > 5]).toEqual([200, true]);
    expect(served.controller.openWatches).toBe(0);
  });

  test("of the client is kept, also by what never ends", async () => {
    await using served = await serveFake();
    served.controller.gate = new Promise(() => {});
    const started = performance.now();
    const error = await callError(served.client().getTaskStatus(task, { timeoutMs: 100 }));
    expect(error.code).toBe("DeadlineExceeded");
    expect(performance.now() - started).toBeLessThan(1_000);
  });

  test("of the server ends a unary call whose client has none, and clamps a longer one", async () => {
    await using served = await serveFake({ limits: { unaryDeadlineMs: 50 } });
    served.controller.gate = new Promise(() => {});
    const client = served.client();
    expect((await callError(client.getTaskStatus(task))).code).toBe("DeadlineExceeded");
    expect((await callError(client.getTaskStatus(task, { timeoutMs: 60_000 }))).code).toBe("DeadlineExceeded");
  });

  test("is left room for: a cancel's wait answers before it, and is never longer than 25 s", async () => {
    await using served = await serveFake();
    served.controller.put("a", { state: StateRunning });
    const answer = await served.client().cancelTask({ ...task, wait: { seconds: 60n } }, { timeoutMs: 1_500 });
    expect(answer.stage).toBe(1);
    const leaving = new AbortController();
    const left = callError(
      served.client().cancelTask({ ...task, wait: { seconds: 3_600n } }, { signal: leaving.signal }),
    );
    await eventually(() => expect(served.controller.cancels).toHaveLength(2));
    leaving.abort();
    await left;
    expect(served.controller.cancels.map((cancel) => cancel.waitMs)).toEqual([expect.any(Number), 25_000]);
    expect(served.controller.cancels[0]?.waitMs).toBeLessThan(1_500);
  });
});

describe("a connection", () => {
  test("that says nothing is closed", async () => {
    await using served = await serveFake({ limits: { firstRequestMaxMs: 50 } });
    const socket = connectSocket(served.port, "127.0.0.1");
    await once(socket, "close");
  });

  test("of HTTP/2 without a request is closed", async () => {
    await using served = await serveFake({ limits: { firstRequestMaxMs: 50 } });
    await once(openHttp2(served.port), "close");
  });

  test("of HTTP/2 without a call for too long is closed", async () => {
    await using served = await serveFake({ limits: { idleMaxMs: 50 } });
    const session = openHttp2(served.port);
    expect((await requestOn(session, grpcHeaders)).grpcStatus).toBe(0);
    await once(session, "close");
  });

  test("is pinged, and stays while it answers", async () => {
    await using served = await serveFake({ limits: { pingIntervalMs: 10, pingTimeoutMs: 2_000 } });
    const session = openHttp2(served.port);
    let pings = 0;
    session.on("ping", () => {
      pings += 1;
    });
    await requestOn(session, grpcHeaders);
    await eventually(() => expect(pings).toBeGreaterThan(3));
    expect((await requestOn(session, grpcHeaders)).grpcStatus).toBe(0);
    session.destroy();
  });

  test("is one too many when there are as many as allowed", async () => {
    await using served = await serveFake({ limits: { sessionsMax: 1 } });
    const session = openHttp2(served.port);
    expect((await requestOn(session, grpcHeaders)).grpcStatus).toBe(0);
    await once(connectSocket(served.port, "127.0.0.1"), "close");
    session.destroy();
    await eventually(async () => expect((await http2Request(served.port, grpcHeaders)).grpcStatus).toBe(0));
  });
});

describe("a connection that asks for much", () => {
  test("that opens calls faster than allowed waits its turn, then is refused, and in the end is cut off", async () => {
    await using served = await serveFake({ limits: { streamOpensPerSecondMax: 20 } });
    const session = openHttp2(served.port);
    const started = performance.now();
    const burst = await Promise.all(Array.from({ length: 24 }, () => requestOn(session, grpcHeaders)));
    expect(new Set(burst.map((answer) => answer.grpcStatus))).toEqual(new Set([0]));
    expect(performance.now() - started).toBeGreaterThan(150);
    const flood = await Promise.all(Array.from({ length: 60 }, () => requestOn(session, grpcHeaders)));
    const refused = flood.filter((answer) => answer.grpcStatus === 8);
    expect(refused.length).toBeGreaterThanOrEqual(20);
    expect(refused[0]?.headers["grpc-status-details-bin"]).toBeDefined();
    const closed = once(session, "close");
    for (let i = 0; i < 300; i += 1) void requestOn(session, grpcHeaders);
    await closed;
    expect(served.logged.map(({ message }) => message)).toContain("a client opens calls far too fast, and was cut off");
  });

  test("holds so much of unfinished requests, and the one that would be too much is refused", async () => {
    await using served = await serveFake({ limits: { inFlightMaxBytes: 1_000 } });
    const session = openHttp2(served.port);
    const half = envelope(Buffer.alloc(795), { claimedBytes: 3_000 });
    let fill = (): void => {};
    const after = new Promise<void>((resolve) => {
      fill = resolve;
    });
    // It is under way before there is too much: what was opened in time must not fill the memory later.
    const openedInTime = requestOn(session, grpcHeaders, half, { end: false, after });
    const other = openHttp2(served.port);
    void requestOn(other, grpcHeaders, half, { end: false });
    const ofBytes = async (bytes: number) =>
      (await requestOn(session, grpcHeaders, envelope(Buffer.alloc(bytes - 5)))).grpcStatus;
    await eventually(async () => expect(await ofBytes(201)).toBe(8));
    expect(await ofBytes(200)).toBe(3);
    fill();
    expect((await openedInTime).grpcStatus).toBe(8);
    other.destroy();
    await eventually(async () => expect(await ofBytes(1_000)).toBe(3));
    session.destroy();
  });

  test("of HTTP/1.1 is used for one request after the other, and for half of a connection", async () => {
    await using served = await serveFake();
    const request =
      "POST /stint.v1.TaskControllerService/GetServerInfo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    const answers = await sendBytes(served.port, Buffer.from(request.repeat(3)), { quietMs: 200 });
    expect(answers.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(3);
    const socket = connectSocket({ port: served.port, host: "127.0.0.1", allowHalfOpen: true });
    socket.end(request);
    let answer = "";
    for await (const chunk of socket) answer += chunk;
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK/);
  });

  test("of HTTP/1.1 begins a request when the one before is answered, and takes no more than 100 ahead", async () => {
    await using served = await serveFake();
    served.controller.put("a", { state: StateRunning });
    let open = (): void => {};
    served.controller.gate = new Promise((resolve) => (open = resolve));
    const head =
      "POST /stint.v1.TaskControllerService/GetTaskStatus HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    const body = JSON.stringify(task);
    const request = `${head}Content-Length: ${body.length}\r\n\r\n${body}`;
    const socket = connectSocket(served.port, "127.0.0.1");
    let answers = "";
    socket.on("data", (chunk) => (answers += chunk));
    socket.write(request.repeat(100));
    await eventually(() => expect(served.controller.callCount).toBe(1));
    const greedy = connectSocket(served.port, "127.0.0.1");
    greedy.on("error", () => {});
    greedy.write(request.repeat(102));
    await once(greedy, "close");
    expect(served.controller.callCount).toBeLessThanOrEqual(2);
    open();
    await eventually(() => expect(answers.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(100));
    socket.destroy();
  });
});

describe("a path that is not served", () => {
  test.each([
    ["application/grpc", 200, 12],
    ["application/grpc+proto", 200, 12],
    ["application/grpc-web+proto", 200, 12],
    ["application/json", 404, undefined],
    ["application/connect+json", 404, undefined],
    ["text/plain", 404, undefined],
  ])("is answered as %s has it", async (contentType, status, grpcStatus) => {
    await using served = await serveFake();
    for (const path of [
      "/stint.v1.TaskControllerService/NoSuchTask",
      "/x.Y/Z",
      "/",
      "/metrics",
      "/%2e%2e/etc/passwd",
    ]) {
      const headers = { ...grpcHeaders, ":path": path, "content-type": contentType };
      expect(await http2Request(served.port, headers)).toMatchObject({ status, grpcStatus });
    }
  });

  test.each(["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])("nor is the method %s", async (method) => {
    await using served = await serveFake();
    for (const path of ["/", "/stint.v1.TaskControllerService/GetServerInfo"]) {
      const { status } = await fetch(served.baseUrl + path, { method });
      expect([404, 405]).toContain(status);
    }
  });

  test("nor is a content type that no protocol has, and the answer says which there are", async () => {
    await using served = await serveFake();
    for (const contentType of ["text/html", "application/grpc-web-text", "application/xml"]) {
      const answer = await http2Request(served.port, { ...grpcHeaders, "content-type": contentType });
      expect(answer.status).toBe(415);
      expect(answer.headers["accept-post"]).toContain("application/json");
      expect(answer.body.toString()).toContain("application/grpc");
    }
    const form = await fetch(`${served.baseUrl}${String(grpcHeaders[":path"])}`, { method: "POST", body: "{}" });
    expect(form.status).toBe(415);
    expect(await form.text()).toContain("application/json");
  });

  test.each([
    ["WatchTask", "application/json", "application/connect+json"],
    ["WatchTasks", "application/proto", "application/connect+proto"],
    ["LaunchTask", "application/connect+json", "application/json"],
  ])("nor is that of another kind of method: %s takes no %s, but %s", async (method, sent, taken) => {
    await using served = await serveFake();
    const path = `/stint.v1.TaskControllerService/${method}`;
    const headers = { "content-type": sent };
    const answer = await fetch(served.baseUrl + path, { method: "POST", headers, body: "{}" });
    expect(answer.status).toBe(415);
    const text = await answer.text();
    for (const said of [answer.headers.get("accept-post"), text]) {
      expect(said).toContain(taken);
      expect(said).not.toContain(`${sent},`);
    }
    expect(text).toContain(method);
  });

  test("nor is GET, and the answer says which method is", async () => {
    await using served = await serveFake();
    const get = await fetch(`${served.baseUrl}${String(grpcHeaders[":path"])}`);
    expect([get.status, get.headers.get("allow")]).toEqual([405, "POST"]);
    expect(await get.text()).toContain("a call of GetServerInfo is a POST");
  });
});

describe("closing", () => {
  test("lets a call under way finish, takes no new connection, and ends idle ones", async () => {
    const served = await serveFake();
    served.controller.put("a", { state: StateRunning });
    let open: () => void = () => {};
    served.controller.gate = new Promise((resolve) => {
      open = resolve;
    });
    const idle = openHttp2(served.port);
    await requestOn(idle, grpcHeaders);
    const goneIdle = once(idle, "close");
    const keepAlive = await fetch(`${served.baseUrl}/`);
    await keepAlive.text();
    const call = served.client().getTaskStatus(task);
    await eventually(() => expect(served.controller.callCount).toBe(1));
    const closing = served.close(5_000);
    await goneIdle;
    await expect(fetch(served.baseUrl)).rejects.toThrow("fetch failed");
    open();
    expect((await call).status?.state).toBe(StateRunning);
    await closing;
  });

  test("ends a connection of HTTP/1.1 with the stream that it is on, and waits for nothing more", async () => {
    const served = await serveFake({ limits: { firstRequestMaxMs: 60_000 } });
    served.controller.put("a", { state: StateRunning });
    const watch = await fetch(`${served.baseUrl}/stint.v1.TaskControllerService/WatchTask`, {
      method: "POST",
      headers: { "content-type": "application/connect+json" },
      body: envelope(Buffer.from(JSON.stringify(task))),
    });
    // Its headers are there: they have promised that the connection stays.
    expect(watch.headers.get("connection")).toBe("keep-alive");
    const silent = connectSocket(served.port, "127.0.0.1");
    await once(silent, "connect");
    const closing = served.close(60_000);
    expect(await watch.text()).toContain("the server is stopping");
    await closing;
    expect(served.logged.map(({ message }) => message)).not.toContain("connections were cut off: their grace is over");
  });

  test("refuses new calls on old connections while others finish", async () => {
    await using served = await serveFake();
    served.availability.enter("draining");
    const error = await callError(served.client().listTasks({ controller: "countdown" }));
    expect(error).toMatchObject({ code: "Unavailable", reason: "DRAINING", retries: true });
  });

  test("cuts off what does not end within the grace", async () => {
    const served = await serveFake();
    served.controller.gate = new Promise(() => {});
    const call = callError(served.client().getTaskStatus(task));
    await eventually(() => expect(served.controller.callCount).toBe(1));
    const started = performance.now();
    await served.close(100);
    expect(performance.now() - started).toBeLessThan(2_000);
    await call;
    await served.close(100);
  });

  test("ends the wait of a cancel, and the cancel stands", async () => {
    const served = await serveFake();
    served.controller.put("a", { state: StateRunning });
    const call = served.client().cancelTask({ ...task, wait: { seconds: 20n } });
    await eventually(() => expect(served.controller.cancels).toHaveLength(1));
    const started = performance.now();
    await served.close(5_000);
    expect((await call).stage).toBe(1);
    expect(performance.now() - started).toBeLessThan(2_000);
  });
});
