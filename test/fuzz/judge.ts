/** What an answer may be, whatever the request was. */
import { Code } from "@connectrpc/connect";
import type { Answer } from "./read-answer.ts";
import type { FuzzWorld } from "./world.ts";

/** What a client's mistake, or its leaving, may be called. */
const allowed: ReadonlySet<number> = new Set([
  0,
  Code.Canceled,
  Code.InvalidArgument,
  Code.DeadlineExceeded,
  Code.NotFound,
  Code.AlreadyExists,
  Code.PermissionDenied,
  Code.ResourceExhausted,
  Code.FailedPrecondition,
  Code.Aborted,
  Code.OutOfRange,
  Code.Unimplemented,
]);
const allowedStatuses: ReadonlySet<number> = new Set([
  200, 204, 400, 403, 404, 405, 408, 409, 415, 429, 431, 499, 501, 504, 505,
]);
const ofRefusals: ReadonlySet<number> = new Set([
  Code.InvalidArgument,
  Code.Unimplemented,
  Code.OutOfRange,
  Code.NotFound,
]);

/** Throws an error that says what is wrong with the answer. */
export function judgeAnswer({ code, httpStatus, message, fields, hasLeft }: Answer): void {
  if (code !== undefined && !allowed.has(code)) throw new Error(`the answer is ${Code[code]}: ${message}`);
  if (httpStatus !== undefined && !allowedStatuses.has(httpStatus))
    throw new Error(`the status is ${httpStatus}: ${message}`);
  if (code === undefined && httpStatus === undefined && !hasLeft) throw new Error("there was no answer");
  if (Buffer.byteLength(message) > 1_100) throw new Error(`the message has ${message.length} characters`);
  if (/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e]/u.test(message.replace(/\n$/, "")))
    throw new Error(`the message is not escaped: ${JSON.stringify(message)}`);
  if (fields.length > 300) throw new Error(`${fields.length} fields are named`);
}

/** Throws where INVALID_ARGUMENT was not said, a broken field is not named, or one that is not broken is. */
export function judgeFields(
  { code, fields, message }: Pick<Answer, "code" | "fields" | "message">,
  broken: readonly string[],
): void {
  if (code !== Code.InvalidArgument)
    throw new Error(`${broken.join(", ")} is broken, and the answer is ${code}: ${message}`);
  const missing = broken.filter((name) => !fields.some((field) => isPart(field, name)));
  if (missing.length > 0)
    throw new Error(`${missing.join(", ")} is broken, and named are ${fields.join(", ")}: ${message}`);
  const wrong = fields.filter((field) => !broken.some((name) => isPart(field, name)));
  if (wrong.length > 0) throw new Error(`${wrong.join(", ")} is named, and broken are ${broken.join(", ")}`);
}

function isPart(field: string, name: string): boolean {
  return field === name || (field.startsWith(name) && /^[.[]/.test(field.slice(name.length)));
}

export function isRefused({ code, httpStatus = 200 }: Answer): boolean {
  return code === undefined ? httpStatus >= 400 : code !== 0;
}

/** Throws where a refused request has changed the store. Resolves to the revision to compare with after the next. */
export async function judgeStore(world: FuzzWorld, answer: Answer, before: bigint): Promise<bigint> {
  // Who has left has not been refused, and a deadline is no refusal.
  const isSure = !answer.hasLeft && isRefused(answer) && (answer.code === undefined || ofRefusals.has(answer.code));
  if (isSure && world.revision() !== before)
    throw new Error(`a refused request has changed the store: ${answer.message}`);
  return isSure ? before : world.settled();
}
