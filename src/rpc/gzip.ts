import { gunzip, gzip as deflate } from "node:zlib";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Compression } from "@connectrpc/connect/protocol";
import { type RequestLimit, tooLargeError } from "./errors.ts";

/**
 * gzip for requests. What decompresses to more than the limit is RESOURCE_EXHAUSTED,
 * and no more than the limit is ever held; what is not gzip is the client's mistake.
 */
export function createGzip(limit: RequestLimit): Compression {
  return {
    name: "gzip",
    compress(bytes) {
      return new Promise((resolve, reject) => {
        deflate(bytes, (error, compressed) => (error === null ? resolve(new Uint8Array(compressed)) : reject(error)));
      });
    },
    decompress(bytes) {
      if (bytes.byteLength === 0) return Promise.resolve(new Uint8Array(0));
      return new Promise((resolve, reject) => {
        gunzip(bytes, { maxOutputLength: limit.value }, (error, plain) => {
          if (error === null) return resolve(new Uint8Array(plain));
          const tooLarge = (error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE";
          reject(
            tooLarge
              ? tooLargeError(limit, "more when decompressed")
              : new ConnectError("the message is not gzip", Code.InvalidArgument),
          );
        });
      });
    },
  };
}
