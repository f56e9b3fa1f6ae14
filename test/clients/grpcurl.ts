/** Runs grpcurl, which must be on the PATH, without any proto file: what it knows, it knows by reflection. */
import { execFile } from "node:child_process";

/** What a call answered. */
export interface GrpcurlAnswer {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** The messages of the answer, in order. */
  readonly messages: readonly Message[];
}

/** A message as grpcurl prints it; each test knows which. */
// biome-ignore format: one line
// oxlint-disable-next-line typescript/no-explicit-any
export type Message = any;

/** Runs it with these arguments. Never rejects for an exit code: an error of a call has one too. */
export function grpcurl(...args: readonly string[]): Promise<GrpcurlAnswer> {
  return new Promise((resolve, reject) => {
    execFile("grpcurl", ["-plaintext", "-max-time", "60", ...args], { maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== "number") return reject(error);
      resolve({ exitCode: Number(error?.code ?? 0), stdout, stderr, messages: parseMessages(stdout) });
    });
  });
}

/** JSON objects one after the other, each with its braces in the first column. */
export function parseMessages(text: string): Message[] {
  const objects = text.match(/^\{(?:\}$|[^]*?^\}$)/gm) ?? [];
  return objects.map((object) => JSON.parse(object) as Message);
}
