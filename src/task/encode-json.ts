/**
 * The value as JSON text; undefined for what JSON has not, such as a function. Throws TypeError for a number that JSON has not (NaN and the
 * infinite ones), of which JSON.stringify makes null: what is launched has no number that was changed silently.
 */
export function encodeJson(value: unknown): string | undefined {
  return JSON.stringify(value, refuseOddNumbers);
}

function refuseOddNumbers(key: string, value: unknown): unknown {
  // JSON.stringify makes a number of the object after this has seen it.
  const number = value instanceof Number ? value.valueOf() : value;
  if (typeof number !== "number" || Number.isFinite(number)) return value;
  throw new TypeError(`JSON has no number ${number}${key === "" ? "" : `, which "${key}" has`}`);
}
