/**
 * Checks the tables of LevelDB (doc/table_format.md of LevelDB) by the checksums that are in them, which LevelDB itself does not look at: a
 * single bit that has changed may make it abort the process, leave out the entries of a block as if they had never been, or refuse
 * all writes as soon as it compacts them. Or it only changes a value, which is for whoever reads that.
 *
 * A table is blocks and a footer of 48 bytes: where the metaindex and the index are, as varints, and a magic number. The index
 * names the blocks of data, the metaindex the filter.
 */
import {
  blockAt,
  decompress,
  entriesIn,
  footerBytes,
  isReadable,
  type TableChecks,
  tableMagic,
} from "./level-block.ts";
import { Varints } from "./level-varints.ts";

/**
 * "sound": each block is what was written. "values": some are not, and can be read all the same, with nothing but values
 * changed as far as can be seen. "damaged": all else.
 */
export type TableState = "sound" | "values" | "damaged";

/** Looks at all of the table. */
export function checkTable(table: Buffer, checks: TableChecks): TableState {
  const footerAt = table.length - footerBytes;
  if (footerAt < 0 || !table.subarray(-tableMagic.length).equals(tableMagic)) return "damaged";
  try {
    const footer = new Varints(table.subarray(footerAt, -tableMagic.length));
    const metaindex = blockAt(table, footer);
    const index = blockAt(table, footer);
    if (!metaindex.isSound || !index.isSound) return "damaged";
    // A filter says of keys that they are not there.
    for (const { value } of entriesIn(decompress(metaindex), 1)) {
      if (!blockAt(table, new Varints(value)).isSound) return "damaged";
    }
    let state: TableState = "sound";
    let above: Buffer = Buffer.alloc(0);
    for (const { key, value } of entriesIn(decompress(index), 1)) {
      const block = blockAt(table, new Varints(value));
      if (!block.isSound) {
        if (!isReadable(decompress(block), { above, upTo: key }, checks)) return "damaged";
        state = "values";
      }
      above = key;
    }
    return state;
  } catch (error) {
    if (error instanceof RangeError) return "damaged";
    throw error;
  }
}
