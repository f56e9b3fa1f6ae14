import { escapeText } from "./escape.ts";

/** What a server's banner tells. */
export interface BannerView {
  readonly version: string;
  /** HOST:PORT as it listens. */
  readonly address: string;
  readonly controllers: readonly string[];
  /** The store as openStore takes it. */
  readonly store: string;
  /** How this program is called in this shell, such as "stint". */
  readonly program: string;
  /** The server that commands ask where none is named. */
  readonly defaultServer: string;
}

/** What to paste next, for whoever has just started a server. */
export function renderBanner(view: BannerView): string[] {
  const { version, address, controllers, program } = view;
  // An address that stands for all of them is none that a client can be given.
  const reachable = address.replace(/^(0\.0\.0\.0|\[::\])(?=:)/, "127.0.0.1");
  const server = reachable === view.defaultServer ? "" : ` --server ${reachable}`;
  const head = [
    `Stint ${version} serves at ${address}. Tasks are kept in ${escapeText(view.store.replace(/^level:/, ""))}.`,
  ];
  const controller = controllers.includes("countdown") ? "countdown" : controllers[0];
  if (controller === undefined) {
    return [...head, "It has no controllers: name some in a file, and start it with --config FILE."];
  }
  const metadata = controller === "countdown" ? { limit: 50 } : {};
  const request = JSON.stringify({ controller, task_id: "demo", metadata });
  return [
    ...head,
    `Controllers: ${controllers.join(", ")}`,
    "",
    "Launch a task, and watch it:",
    `  grpcurl -plaintext -d '${request}' ${reachable} stint.v1.TaskControllerService/LaunchTask`,
    `  ${program} watch ${controller} demo${server}`,
    "",
    "Or both in one:",
    `  ${program} launch ${controller} demo --metadata '${JSON.stringify(metadata)}' --watch${server}`,
    "",
  ];
}
