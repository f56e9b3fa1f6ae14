/** How a server is reached over grpc-js, by runners as by the command line. */
import { createSecureContext } from "node:tls";
import { type ChannelCredentials, type ChannelOptions, credentials } from "@grpc/grpc-js";
import "../messages/whole-text.ts";

/** What a channel is made of. */
export interface ChannelParts {
  /** HOST:PORT. */
  readonly host: string;
  readonly security: ChannelCredentials;
  readonly options: ChannelOptions;
}

/**
 * For the server at HOST:PORT or, over TLS, at https://HOST:PORT: its certificate must be signed by one of `ca` (PEM), or be one of them, or,
 * without `ca`, be signed by one of those that Node knows.
 */
export function channelTo(address: string, ca: string | Buffer | undefined): ChannelParts {
  const host = address.replace(/^https?:\/\//, "");
  return {
    host,
    security: address.startsWith("https://") ? trust(ca) : credentials.createInsecure(),
    options: {
      // A proxy of the environment must not come between this machine and itself.
      "grpc.enable_http_proxy": /^(localhost|127\.[\d.]+|\[::1\])(:|$)/.test(host) ? 0 : 1,
      "grpc.max_receive_message_length": 32 * 1024 * 1024,
    },
  };
}

/** What is named is trusted as it is, whether an authority signs others with it or not. */
function trust(ca: string | Buffer | undefined): ChannelCredentials {
  if (ca === undefined) return credentials.createSsl();
  return credentials.createFromSecureContext(createSecureContext({ ca, allowPartialTrustChain: true }));
}
