/** The google.rpc details of a failed call, as two clients read them: grpc-js, and one that posts JSON. */
import { createRegistry, type DescMessage, fromBinary, type JsonObject, toJson } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Client, credentials, type ServiceError, status as grpcCodes } from "@grpc/grpc-js";
import { expect } from "vitest";
import {
  type BadRequest,
  type ErrorInfo,
  file_google_rpc_error_details,
  type ResourceInfo,
  type RetryInfo,
} from "#gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "#gen/google/rpc/status_pb.js";
import { ErrorReason } from "#gen/stint/v1/controller_pb.js";
import { envelope } from "./raw-http.ts";
import type { ServedFake } from "./served-fake.ts";

/** What is read of a failed call. */
export interface ReadError {
  readonly code: string;
  readonly message: string;
  readonly details: readonly string[];
}

/** A detail in a line: its type and what a program acts on. Its reason must be of the closed list. */
function lineOf({ $typeName }: { $typeName: string }, detail: unknown): string {
  const name = $typeName.replace("google.rpc.", "");
  if (name === "BadRequest") {
    const { fieldViolations } = detail as BadRequest;
    expect(fieldViolations.every(({ description }) => description !== "")).toBe(true);
    return [name, ...fieldViolations.map(({ field }) => field).sort()].join(" ");
  }
  if (name === "ErrorInfo") {
    const { reason, domain, metadata } = detail as ErrorInfo;
    expect(domain).toBe("stint.v1");
    expect(ErrorReason).toHaveProperty(reason);
    return [name, reason, ...Object.keys(metadata).sort()].join(" ");
  }
  if (name === "ResourceInfo") {
    const { resourceType, resourceName } = detail as ResourceInfo;
    return [name, resourceType, resourceName].join(" ");
  }
  const { retryDelay } = detail as RetryInfo;
  expect((retryDelay?.seconds ?? 0n) * 1_000_000_000n + BigInt(retryDelay?.nanos ?? 0)).toBeGreaterThan(0n);
  return name;
}

const registry = createRegistry(file_google_rpc_error_details);

/** As a service of gRPC is called that streams, which on the wire is the same as one that does not. */
export async function readGrpc({ port }: ServedFake, path: string, request: Uint8Array): Promise<ReadError> {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  try {
    const error = await new Promise<ServiceError>((resolve, reject) => {
      client
        .makeServerStreamRequest(path, Buffer.from, (bytes: Buffer) => bytes, request)
        .on("error", resolve)
        .on("data", () => {})
        .on("end", () => reject(new Error("the call did not fail")));
    });
    const [bytes] = error.metadata.get("grpc-status-details-bin");
    const code = grpcCodes[error.code];
    if (bytes === undefined) return { code, message: error.details, details: [] };
    const status = fromBinary(StatusSchema, bytes as Buffer);
    expect([status.code, status.message]).toEqual([error.code, error.details]);
    const details = status.details.map((any) => {
      const detail = anyUnpack(any, registry);
      if (detail === undefined) throw new Error(`${any.typeUrl} is not known`);
      return lineOf(detail, detail);
    });
    return { code, message: error.details, details: details.sort() };
  } finally {
    client.close();
  }
}

interface ConnectErrorJson {
  readonly code: string;
  readonly message: string;
  readonly details?: readonly { readonly type: string; readonly value: string; readonly debug?: unknown }[];
}

/** As curl is used: a POST of JSON, and the array "details" of the answer. */
export async function readConnect(
  { baseUrl }: ServedFake,
  path: string,
  request: JsonObject,
  streams: boolean,
): Promise<ReadError> {
  const json = Buffer.from(JSON.stringify(request));
  const response = await fetch(baseUrl + path, {
    method: "POST",
    headers: { "content-type": streams ? "application/connect+json" : "application/json" },
    body: streams ? new Uint8Array(envelope(json)) : json,
  });
  const body = Buffer.from(await response.arrayBuffer());
  // A stream has its error in its last message, behind five bytes.
  const { error } = streams
    ? (JSON.parse(body.subarray(5).toString()) as { error: ConnectErrorJson })
    : { error: JSON.parse(body.toString()) as ConnectErrorJson };
  expect(response.ok).toBe(streams);
  const details = (error.details ?? []).map(({ type, value, debug }) => {
    const desc = registry.getMessage(type) as DescMessage;
    const detail = fromBinary(desc, Buffer.from(value, "base64"));
    // What people read in the answer is the same.
    expect(debug).toEqual(toJson(desc, detail));
    return lineOf(detail, detail);
  });
  return { code: error.code.toUpperCase(), message: error.message, details: details.sort() };
}
