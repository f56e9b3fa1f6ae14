/**
 * The tokens of pages: of which list they are, and where it goes on. All that is needed is in them, so they
 * outlive a restart; they are no secret, and what was made up is refused or leads nowhere.
 */
import { createHash } from "node:crypto";
import type { LogsOptions, QueryOptions } from "./controller.ts";
import { type ControllerError, invalidArgument } from "./error.ts";

/** The tokens of one list's pages. */
export interface PageTokens {
  /** A short name for what the list was asked for; a token of another list is refused. */
  readonly query: string;
  /** Patterns of the texts that say where the list goes on. */
  readonly place: readonly RegExp[];
}

/** Of a list of tasks. Its place: the store's revision at its first page, and the last that was looked at, a key's end behind its prefix. */
export function taskPageTokens(controller: string, options: QueryOptions): PageTokens {
  const query = [
    "tasks",
    controller,
    [...new Set(options.states ?? [])].sort((a, b) => a - b),
    Object.entries(options.labels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1)),
    options.idPrefix ?? "",
    options.order ?? "id",
  ];
  return { query: hashQuery(query), place: [/^\d{1,20}$/, /^/] };
}

/** Of the log of a task. Its place: the task's generation, the base of its log, and the seq of the last entry that was looked at. */
export function logPageTokens(controller: string, taskId: string, { minLevel }: LogsOptions): PageTokens {
  const query = hashQuery(["logs", controller, taskId, minLevel ?? null]);
  return { query, place: [/^[^/]{0,128}$/, /^-?\d{1,20}$/, /^\d{1,20}$/] };
}

function hashQuery(query: readonly unknown[]): string {
  return createHash("sha256").update(JSON.stringify(query)).digest("base64url").slice(0, 16);
}

export function encodePageToken({ query }: PageTokens, place: readonly string[]): string {
  return Buffer.from(JSON.stringify([query, ...place])).toString("base64url");
}

/** The place that was encoded; undefined for no token. Throws INVALID_ARGUMENT for what is no token, and for one of another list. */
export function decodePageToken(text: string, tokens: PageTokens): string[] | undefined {
  if (text === "") return undefined;
  const { place, complaint } = readToken(text, tokens);
  if (complaint !== undefined) throw badToken(complaint);
  return place;
}

/** What is wrong with a token; undefined when nothing is, as far as the token alone tells. */
export function checkPageToken(text: string, tokens: PageTokens): string | undefined {
  return text === "" ? undefined : readToken(text, tokens).complaint;
}

const noToken = "is not one that a page had";

function readToken(text: string, { query, place }: PageTokens): { place?: string[]; complaint?: string } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(text, "base64url").toString("utf8"));
  } catch {
    return { complaint: noToken };
  }
  const [tokenQuery, ...rest] = (Array.isArray(parsed) ? parsed : []) as unknown[];
  const isToken =
    typeof tokenQuery === "string" && rest.length === place.length && place.every((each, i) => isText(rest[i], each));
  if (!isToken) return { complaint: noToken };
  if (tokenQuery !== query) return { complaint: "is of another list, with another controller, task, filter or order" };
  return { place: rest as string[] };
}

/** INVALID_ARGUMENT for what no page has given out. */
export function notAToken(): ControllerError {
  return badToken(noToken);
}

function badToken(description: string): ControllerError {
  return invalidArgument([{ field: "page_token", description }]);
}

function isText(part: unknown, pattern: RegExp): boolean {
  return typeof part === "string" && part.isWellFormed() && pattern.test(part);
}
