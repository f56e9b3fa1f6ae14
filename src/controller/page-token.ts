/**
 * The tokens of pages: of which list they are, and where it goes on. All that is needed is in them, so they
 * outlive a restart; they are no secret, and what was made up is refused or leads nowhere.
 */
import { createHash } from "node:crypto";
import { type ControllerError, invalidArgument } from "./error.ts";

/** A short name for what a list was asked for; a token of another list is refused. */
export function hashQuery(query: readonly unknown[]): string {
  return createHash("sha256").update(JSON.stringify(query)).digest("base64url").slice(0, 16);
}

export function encodePageToken(query: string, place: readonly string[]): string {
  return Buffer.from(JSON.stringify([query, ...place])).toString("base64url");
}

/**
 * What was encoded, as many texts as `place` has patterns, each of which holds; undefined for no token. Throws
 * INVALID_ARGUMENT for what is no token, and for one of another list.
 */
export function decodePageToken(text: string, query: string, place: readonly RegExp[]): string[] | undefined {
  if (text === "") return undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(text, "base64url").toString("utf8"));
  } catch {
    throw notAToken();
  }
  const [tokenQuery, ...rest] = (Array.isArray(parsed) ? parsed : []) as unknown[];
  const isToken =
    typeof tokenQuery === "string" && rest.length === place.length && place.every((each, i) => isText(rest[i], each));
  if (!isToken) throw notAToken();
  if (tokenQuery !== query) throw badToken("is of a list with other filters or another order");
  return rest as string[];
}

/** INVALID_ARGUMENT for what no page has given out. */
export function notAToken(): ControllerError {
  return badToken("is not one that a page had");
}

function badToken(description: string): ControllerError {
  return invalidArgument([{ field: "page_token", description }]);
}

function isText(part: unknown, pattern: RegExp): boolean {
  return typeof part === "string" && part.isWellFormed() && pattern.test(part);
}
