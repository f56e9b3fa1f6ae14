import { gunzip, gzip as deflate } from "node:zlib";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Compression } from "@connectrpc/connect/protocol";
import { fromControllerError, limitError } from "./errors.ts";

/**
 * gzip for requests. What decompresses to more than the limit is RESOURCE_EXHAUSTED,
 * and no more than the limit is ever held; what is not gzip is the client's mistake.
 */
export const gzip: Compression = {
  name: "gzip",
  compress(bytes) {
    return new Promise((resolve, reject) => {
      deflate(bytes, (error, compressed) => (error === null ? resolve(new Uint8Array(compressed)) : reject(error)));
    });
  },
  decompress(bytes, readMaxBytes) {
    if (bytes.byteLength === 0) return Promise.resolve(new Uint8Array(0));
    return new Promise((resolve, reject) => {
      gunzip(bytes, { maxOutputLength: readMaxBytes }, (error, plain) => {
        if (error === null) return resolve(new Uint8Array(plain));
        const tooLarge = (error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE";
        reject(
          tooLarge ? tooLargeError(readMaxBytes) : new ConnectError("the message is not gzip", Code.InvalidArgument),
        );
      });
    });
  },
};

function tooLargeError(maxBytes: number): ConnectError {
  const message = `a message of the request may have at most ${maxBytes} bytes, and has more when decompressed`;
  return fromControllerError(limitError("request_max_bytes", maxBytes, message));
}
