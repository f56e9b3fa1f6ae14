import { expect, test } from "vitest";
import { openStore } from "../../src/store/open.ts";
import { makeScratchDirectory } from "../support/scratch-directory.ts";

test.each(["level", "memory"])(
  "a %s store that is opened with await using is closed at the end of its scope",
  async (kind) => {
    await using scratch = await makeScratchDirectory();
    const location = kind === "level" ? `level:${scratch.path}/store` : "memory:";
    const openInScope = async () => {
      await using store = await openStore(location);
      await store.commit([{ type: "put", key: "/k", value: Uint8Array.of(1) }]);
      return store;
    };
    const store = await openInScope();
    await expect(store.get("/k")).rejects.toMatchObject({ code: "UNAVAILABLE" });
    // Nothing holds the directory any more.
    await using again = await openStore(location);
    expect((await again.get("/k")) !== undefined).toBe(kind === "level");
  },
);
