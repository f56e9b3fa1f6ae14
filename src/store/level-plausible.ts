/** What LevelDB entries of ours look like, for those whose bytes can no longer be trusted. */
import { keyNumber, parseValueKey, spaceOf } from "./level-keys.ts";
import { decodeBlock, decodeRecord, isWhole } from "./record.ts";

/**
 * Whether the entry can be one that was written, except for its value. What the head of a record or block says is vouched
 * for by a checksum of its own: it tells that the key has changed, or that the value has swallowed what was behind it. A
 * head that is damaged itself tells nothing; where blocks are compressed the same bit may have changed both it and the key.
 */
export function isPlausibleEntry(key: Buffer, value: Buffer): boolean {
  const space = spaceOf(key);
  if (space === undefined) return false;
  // The deletion of a key has no value.
  if (value.length === 0) return true;
  if (space === "value") {
    const place = parseValueKey(key);
    const record = decodeRecord(value);
    if (record.damage === "head") return false;
    return record.key === place?.key && record.revision === place.revision && isWhole(record);
  }
  if (space !== "journal") return true;
  const block = decodeBlock(value, keyNumber(key));
  return block !== undefined && (block.records.length === 0 || block.records.at(-1)?.end === value.length);
}
