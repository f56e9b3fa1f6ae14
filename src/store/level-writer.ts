/** Writes a LevelDB database that nobody else knows of: unsynced, in batches of bounded size. */
import { createLevelDatabase, type LevelDatabase, type LevelOperation } from "./level-database.ts";
import { valueSpace } from "./level-keys.ts";

const batchMaxBytes = 1 << 20;
const pageEntries = 1_000;

export class DatabaseWriter implements AsyncDisposable {
  readonly #db: LevelDatabase;
  #batch: LevelOperation[] = [];
  #bytes = 0;
  #isOpen = true;

  private constructor(db: LevelDatabase) {
    this.#db = db;
  }

  static async open(location: string): Promise<DatabaseWriter> {
    const db = createLevelDatabase(location, { writeBufferBytes: 16 << 20 });
    await db.open({ createIfMissing: true });
    return new DatabaseWriter(db);
  }

  async put(key: Buffer, value: Buffer): Promise<void> {
    this.#batch.push({ type: "put", key, value });
    this.#bytes += key.length + value.length;
    if (this.#bytes >= batchMaxBytes) await this.#flush();
  }

  async get(key: Buffer): Promise<Buffer | undefined> {
    await this.#flush();
    return this.#db.get(key);
  }

  /** The versions of values, in order. */
  async *versions(): AsyncGenerator<[key: Buffer, value: Buffer]> {
    await this.#flush();
    const iterator = this.#db.iterator(valueSpace());
    try {
      for (;;) {
        const page = await iterator.nextv(pageEntries);
        if (page.length === 0) return;
        yield* page;
      }
    } finally {
      await iterator.close();
    }
  }

  /** Writes what is left, and closes. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    try {
      await this.#flush();
    } finally {
      await this.#db.close();
    }
  }

  async #flush(): Promise<void> {
    const batch = this.#batch;
    this.#batch = [];
    this.#bytes = 0;
    if (batch.length > 0) await this.#db.batch(batch, { sync: false });
  }
}
