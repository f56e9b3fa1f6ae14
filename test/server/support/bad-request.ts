/** A request that is refused, and what for. */
export interface BadRequest {
  /** The call, by its local name. */
  readonly call: string;
  readonly name: string;
  /** The request, as a client in TypeScript writes it. */
  readonly request: object;
  readonly code: string;
  /** The fields of BadRequest. */
  readonly fields?: readonly string[];
  /** The reason of ErrorInfo. */
  readonly reason?: string;
  /** The same in JSON, where a client cannot write the request in it. */
  readonly json?: string;
}

export const controller = "countdown";

/** The calls that name a task that there is. */
export const taskCalls = ["cancelTask", "getTaskStatus", "listTaskLogs", "watchTask", "waitTask", "deleteTask"];

export function invalid(
  call: string,
  name: string,
  request: object,
  fields: readonly string[],
  json?: string,
): BadRequest {
  return { call, name, request, code: "InvalidArgument", fields, ...(json === undefined ? {} : { json }) };
}
