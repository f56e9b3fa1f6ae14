import { checkText } from "./ids.ts";
import type { TaskLimits } from "./limits.ts";
import { escapeInput } from "./quote-input.ts";

/**
 * What is wrong with `text` as the metadata of a task; undefined when nothing
 * is. It must be the text of a JSON object, within the limits of size and depth;
 * blank text is none, and fine. The depth is checked before the text is parsed, and
 * without recursion: no input is too deep for the check itself.
 */
export function checkMetadataText(text: string, limits: TaskLimits): string | undefined {
  const complaint = checkText(text, limits.metadataMaxBytes);
  if (complaint !== undefined) return complaint;
  if (isBlank(text)) return undefined;
  const depth = jsonDepth(text);
  if (depth > limits.metadataMaxDepth) {
    return `must be nested at most ${limits.metadataMaxDepth} levels deep, and is ${depth}`;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    // The engine's message shows a piece of the text; nothing else of it is of use.
    const message = error instanceof Error ? error.message : String(error);
    return `must be valid JSON: ${escapeInput(message, 160)}`;
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return undefined;
  const kind = Array.isArray(value) ? "an array" : value === null ? "null" : `a ${typeof value}`;
  return `must be a JSON object, and is ${kind}`;
}

/** Whether `text` has nothing but JSON's white space: such metadata is none. */
export function isBlank(text: string): boolean {
  return /^[ \t\r\n]*$/.test(text);
}

/** How deep the brackets of `text` are nested, those inside strings not counted; {} is 1. */
function jsonDepth(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let i = 0; i < text.length; i += 1) {
    const unit = text[i];
    if (inString) {
      if (unit === "\\") i += 1;
      else if (unit === '"') inString = false;
    } else if (unit === '"') inString = true;
    else if (unit === "{" || unit === "[") {
      depth += 1;
      if (depth > deepest) deepest = depth;
    } else if (unit === "}" || unit === "]") depth -= 1;
  }
  return deepest;
}
