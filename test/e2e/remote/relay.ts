/** Stands between a runner, or a client, and the server: can hold back what one of them says, and cut them off. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export type Side = "runner" | "server";

export interface Relay extends AsyncDisposable {
  /** What a runner is told to connect to. */
  readonly target: string;
  /** From now on nothing that this side says arrives, on new connections neither. */
  hold(side: Side): void;
  /** What was held back arrives, late. */
  release(): void;
  /** Every connection that there is now breaks; resolves to how many. */
  cut(): number;
  /** Resolves when the runner gives up a connection that it has now. */
  givenUp(): Promise<void>;
}

/** To a server at this port of this machine. */
export async function openRelay(port: number): Promise<Relay> {
  const sockets: Readonly<Record<Side, Set<Socket>>> = { runner: new Set(), server: new Set() };
  const held = new Set<Side>();
  const forward = (side: Side, from: Socket, to: Socket): void => {
    sockets[side].add(from);
    // The end comes behind what was said before it, however late that is.
    from.on("data", (bytes) => void to.write(bytes));
    from.on("end", () => void to.end());
    from.on("error", () => void to.destroy());
    from.on("close", () => void sockets[side].delete(from));
    if (held.has(side)) from.pause();
  };
  const relay = createServer((runner) => {
    const server = connect(port, "127.0.0.1");
    forward("runner", runner, server);
    forward("server", server, runner);
  });
  await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
  return {
    target: `127.0.0.1:${(relay.address() as AddressInfo).port}`,
    hold(side) {
      held.add(side);
      for (const socket of sockets[side]) socket.pause();
    },
    release() {
      for (const side of held) for (const socket of sockets[side]) socket.resume();
      held.clear();
    },
    cut() {
      const count = sockets.runner.size;
      for (const socket of [...sockets.runner, ...sockets.server]) socket.resetAndDestroy();
      return count;
    },
    async givenUp() {
      await Promise.race([...sockets.runner].map((socket) => once(socket, "close")));
    },
    async [Symbol.asyncDispose]() {
      for (const socket of [...sockets.runner, ...sockets.server]) socket.destroy();
      await new Promise((resolve) => relay.close(resolve));
    },
  };
}
