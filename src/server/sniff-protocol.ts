import type { Socket } from "node:net";
import type { Clock } from "../clock.ts";

const http2Preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
/** No method of HTTP/1.1 begins so. */
const prefaceBytes = 4;

/**
 * Reads what tells HTTP/1.1 and HTTP/2 apart, gives it back to the socket and calls
 * `decide`. A connection that does not say in time is destroyed.
 */
export function sniffProtocol(
  socket: Socket,
  options: { clock: Clock; timeoutMs: number },
  decide: (protocol: "http1" | "http2") => void,
): void {
  const cancelTimer = options.clock.after(options.timeoutMs, () => socket.destroy());
  let head: Buffer = Buffer.alloc(0);
  const onData = (chunk: Buffer): void => {
    head = head.byteLength === 0 ? chunk : Buffer.concat([head, chunk]);
    const count = Math.min(head.byteLength, prefaceBytes);
    const mayBeHttp2 = head.subarray(0, count).equals(http2Preface.subarray(0, count));
    if (mayBeHttp2 && count < prefaceBytes) return;
    stop();
    socket.pause();
    socket.unshift(head);
    decide(mayBeHttp2 ? "http2" : "http1");
    if (!mayBeHttp2) socket.resume();
  };
  const onEnd = (): void => {
    stop();
    socket.destroy();
  };
  const stop = (): void => {
    cancelTimer();
    socket.off("data", onData);
    socket.off("end", onEnd);
    socket.off("close", stop);
  };
  socket.on("data", onData);
  socket.on("end", onEnd);
  socket.on("close", stop);
}
