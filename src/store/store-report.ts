/** What the tools for a store tell of it. */

/** What was found. */
export interface VerifyReport extends Survey {
  readonly kind: "store" | "backup";
  /** Nothing at all is wrong. */
  readonly isSound: boolean;
  /** A server opens it. What is damaged then is damaged for whoever asks for that. */
  readonly opens: boolean;
  /** The store's own name, if it can be read. */
  readonly uuid: string | undefined;
  /** Its files, the damaged among them. */
  readonly files: number;
  readonly damagedFiles: readonly FileDamage[];
}

/** What became of a damaged store. */
export interface RepairReport {
  readonly how: "copied" | "rebuilt";
  /** Nothing was lost, as far as can be told. */
  readonly isComplete: boolean;
  /** What was wrong with the files. */
  readonly damagedFiles: readonly FileDamage[];
  /** Tasks whose records are damaged, missing or old: they read as DATA_LOSS. Of those that are incomplete, who asks for metadata or a result that is lost learns that, and log entries that are lost are a gap. */
  readonly damagedTasks: readonly DamagedTask[];
  /** Of a rebuilt store: tasks that have not ended, as far as is known. What is lost may have been their end; a server runs them. */
  readonly unendedTasks: readonly { readonly controller: string; readonly taskId: string }[];
  /** What else is lost, in words. */
  readonly losses: readonly string[];
  /** How many pieces are in quarantine/. */
  readonly quarantined: number;
  /** The new store. */
  readonly made: VerifyReport;
}

/** What is in a store. */
export interface Survey {
  /** The newest revision, and the one that history starts at. */
  readonly revision: number;
  readonly firstRevision: number;
  readonly keys: number;
  readonly tasks: number;
  readonly indexEntries: number;
  readonly counters: number;
  readonly journalBlocks: number;
  /** SHA-256 over the newest record of each key that exists, in order. */
  readonly stateHash: string;
  /** Why a server would not open it, as far as entries go. */
  readonly refusals: readonly string[];
  /** Entries that are damaged, a thousand at most; and all of them counted. */
  readonly damagedEntries: readonly DamagedEntry[];
  readonly damagedEntryCount: number;
  readonly damagedTasks: readonly DamagedTask[];
}

/** An entry whose bytes have changed. */
export interface DamagedEntry {
  /** The entry's key; undefined where that is lost, or it is of the journal. */
  readonly key?: string | undefined;
  readonly revision: number;
  readonly reason: string;
}

/** A file that is not as it was written. */
export interface FileDamage {
  readonly file: string;
  readonly reason: string;
  /** Which bytes of the file; undefined for all of it. */
  readonly range?: { readonly start: number; readonly end: number } | undefined;
  /**
   * "entries": some are lost, and nobody can tell whose. "values": all entries are there, and values have changed. "tail": the end of
   * the newest log, as a power cut leaves it. "none": nothing is lost, but LevelDB would not open it.
   */
  readonly loss: "entries" | "values" | "tail" | "none";
}

/** A task that cannot be read, or is not as it was last. */
export interface DamagedTask {
  readonly controller: string;
  readonly taskId: string;
  /** "old": something of the task tells of a newer record. "incomplete": the record is sound, and its metadata, its result or log entries are lost. */
  readonly state: "damaged" | "missing" | "old" | "incomplete";
  readonly reason: string;
}
