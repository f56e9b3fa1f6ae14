/** What LevelDB has of a key: the record of a version, or none. */
import { parseValueKey } from "./level-keys.ts";
import { decodeRecord, noBytes, type StoredRecord } from "./record.ts";

/** Stands for the newest version of a key that has none. */
export const absent: StoredRecord = {
  type: 2,
  key: "",
  revision: 0,
  previous: 0,
  bytes: noBytes,
  start: 0,
  end: 0,
  valueStart: 0,
  damage: undefined,
};

/** The record of a materialized version, checked against the key that it lies under. */
export function decodeVersion(levelKey: Buffer, bytes: Buffer): StoredRecord {
  const record = decodeRecord(bytes);
  const place = parseValueKey(levelKey) ?? { key: "", revision: 0 };
  if (record.damage !== "head" && record.key === place.key && record.revision === place.revision) return record;
  return { ...record, type: 1, key: place.key, revision: place.revision, previous: 0, damage: "head" };
}
