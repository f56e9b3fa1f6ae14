import type { ExampleMetadata } from "../../server/example-metadata.ts";
import { escapeText } from "./escape.ts";

/** What a server's banner tells. */
export interface BannerView {
  readonly version: string;
  /** HOST:PORT as it listens. */
  readonly address: string;
  /** Each with what its tasks need; see exampleMetadata. */
  readonly controllers: readonly BannerController[];
  /** The store as openStore takes it. */
  readonly store: string;
  /** With TLS: the file with the certificate, and a HOST:PORT for which that is, if one is known. */
  readonly tls: { readonly certFile: string; readonly address: string | undefined } | undefined;
  /** How this program is called in this shell, such as "stint". */
  readonly program: string;
  /** The server that commands ask where none is named. */
  readonly defaultServer: string;
}

export interface BannerController {
  readonly name: string;
  readonly metadata: ExampleMetadata;
}

/** What to paste next, for whoever has just started a server. */
export function renderBanner(view: BannerView): string[] {
  const { version, address, controllers, program } = view;
  const { target, grpcurlFlag, server } = reach(view);
  const head = [
    `Stint ${version} serves at ${address}. Tasks are kept in ${escapeText(view.store.replace(/^level:/, ""))}.`,
  ];
  const first = firstToTry(controllers);
  if (first === undefined) {
    return [
      ...head,
      "It is configured with no controllers: runners that connect make theirs, and a file can name others (--config FILE).",
    ];
  }
  const { name: controller, isReady } = first;
  const metadata = controller === "countdown" ? { limit: 50 } : first.metadata;
  const request = JSON.stringify({ controller, task_id: "demo", metadata });
  return [
    ...head,
    `Controllers: ${controllers.map(({ name }) => name).join(", ")}`,
    "",
    isReady ? "Launch a task, and watch it:" : "Launch a task, with values for what its command needs, and watch it:",
    `  grpcurl ${grpcurlFlag} -d '${request}' ${target} stint.v1.TaskControllerService/LaunchTask`,
    ...(server === undefined
      ? [
          "",
          `${program} needs a server by a name that its certificate has, which has none: --server https://NAME:PORT --ca FILE`,
        ]
      : [
          `  ${program} watch ${controller} demo${server}`,
          "",
          "Or both in one:",
          `  ${program} launch ${controller} demo --metadata '${JSON.stringify(metadata)}' --watch${server}`,
        ]),
    "",
  ];
}

/** The example's controller, or else one whose tasks can be launched as they are, if there is one. */
function firstToTry(controllers: readonly BannerController[]): (BannerController & { isReady: boolean }) | undefined {
  const needsNothing = ({ metadata }: BannerController): boolean => Object.keys(metadata).length === 0;
  const ready = controllers.find(({ name }) => name === "countdown") ?? controllers.find(needsNothing);
  const first = ready ?? controllers[0];
  return first && { ...first, isReady: ready !== undefined };
}

/** How clients are told where the server is, and whom to trust; no `server` where the certificate is for none that they could name. */
function reach({ address, tls, defaultServer }: BannerView): {
  readonly target: string;
  readonly grpcurlFlag: string;
  readonly server: string | undefined;
} {
  // An address that stands for all of them is none that a client can be given.
  const reachable = address.replace(/^(0\.0\.0\.0|\[::\])(?=:)/, "127.0.0.1");
  if (tls === undefined) {
    const server = reachable === defaultServer ? "" : ` --server ${reachable}`;
    return { target: reachable, grpcurlFlag: "-plaintext", server };
  }
  if (tls.address === undefined) return { target: reachable, grpcurlFlag: "-insecure", server: undefined };
  // The certificate itself, as who signed it is not known.
  const file = quoteWord(tls.certFile);
  return {
    target: tls.address,
    grpcurlFlag: `-cacert ${file}`,
    server: ` --server https://${tls.address} --ca ${file}`,
  };
}

/** As one word of a shell. */
function quoteWord(text: string): string {
  return /^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
