/** A proxy on which no reply comes back: at the head of the first one it cuts the connection, and all calls on it with it. */
import { connect, createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";
import { frameType } from "../../support/raw-frames.ts";

const headBytes = 9;

export class ReplyCutter implements AsyncDisposable {
  /** How many replies the server has sent that nobody got. */
  cuts = 0;
  readonly #server: Server;
  readonly #port: number;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.#port = port;
    server.on("connection", (client) => this.#serve(client));
  }

  /** In front of what listens on `port` of this machine. */
  static async listen(port: number): Promise<ReplyCutter> {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new ReplyCutter(server, port);
  }

  get baseUrl(): string {
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(client: Socket): void {
    const server = connect(this.#port, "127.0.0.1");
    const both = [client, server];
    const cut = (): void => both.forEach((socket) => socket.destroy());
    for (const socket of both) {
      this.#sockets.add(socket);
      socket.setNoDelay();
      socket.on("error", cut);
      socket.on("close", () => {
        this.#sockets.delete(socket);
        cut();
      });
    }
    client.pipe(server);
    let rest: Buffer = Buffer.alloc(0);
    server.on("data", (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      while (rest.length >= headBytes) {
        const end = headBytes + rest.readUIntBE(0, 3);
        if (rest.readUInt8(3) === frameType.headers) {
          this.cuts += 1;
          return cut();
        }
        if (rest.length < end) return;
        client.write(rest.subarray(0, end));
        rest = rest.subarray(end);
      }
    });
  }
}
