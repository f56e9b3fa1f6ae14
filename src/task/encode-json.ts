/**
 * The value as JSON text; undefined for what JSON has not, such as a function. Throws TypeError for a number that JSON has not (NaN and the
 * infinite ones), of which JSON.stringify makes null: what is launched has no number that was changed silently.
 */
export function encodeJson(value: unknown): string | undefined {
  return JSON.stringify(value, refuseOddNumbers);
}

function refuseOddNumbers(key: string, value: unknown): unknown {
  if (typeof value !== "number" || Number.isFinite(value)) return value;
  throw new TypeError(`JSON has no number ${value}${key === "" ? "" : `, which "${key}" has`}`);
}
