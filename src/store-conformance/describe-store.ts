/**
 * The conformance suite of the storage seam (src/store/store.ts), for backends
 * of ours and of others. A backend's whole test is:
 *
 *   describeStore("my store", async (options) => ({ store: await openMyStore(options) }), { describe, expect, test });
 *
 * It asks for a test framework like vitest and for the package fast-check, and for nothing of the backend but the
 * interface. One `describe` below is one operation or one of its promises.
 *
 * The clock that a store is given stands still until a test moves it: a
 * backend may put off what nobody waits for (writing back, pruning), but must
 * not need the clock to answer a call. A new store's commits are expected to
 * have the revisions 1, 2, 3 and so on.
 */
import { describeClose } from "./close.ts";
import { describeCommit } from "./commit.ts";
import { describeConditions } from "./conditions.ts";
import { describeCounters } from "./counters.ts";
import { describeGet } from "./get.ts";
import { describeHistory } from "./history.ts";
import { describeIndex } from "./index-entries.ts";
import { describeKeys } from "./keys.ts";
import { describeModel } from "./model.ts";
import { describeReopen } from "./reopen.ts";
import { describeNext } from "./next.ts";
import { describeScan } from "./scan.ts";
import type { OpenStoreUnderTest, TestFramework } from "./suite.ts";
import { describeWatch } from "./watch.ts";
import { describeWatchResume } from "./watch-resume.ts";

export type {
  Each,
  Matchers,
  OpenStoreUnderTest,
  StoreUnderTest,
  StoreUnderTestOptions,
  TestFramework,
} from "./suite.ts";

/** How many random histories are tried where nothing is said. */
const defaultHistories = 25;

/**
 * Declares the suite's tests for the stores that `open` opens, each on data of its own. `framework` is the test
 * framework's; `histories` (25 by default) is how many random histories the store is compared with a model over.
 */
export function describeStore(
  name: string,
  open: OpenStoreUnderTest,
  framework: TestFramework & { readonly histories?: number | undefined },
): void {
  const { describe, expect, test, histories = defaultHistories } = framework;
  const suite = { open, describe, expect, test, histories };
  describe(`${name} as a Store`, () => {
    describe("keys", () => describeKeys(suite));
    describe("get", () => describeGet(suite));
    describe("scan", () => describeScan(suite));
    describe("commit", () => describeCommit(suite));
    describe("commit with conditions", () => describeConditions(suite));
    describe("commit of index entries", () => describeIndex(suite));
    describe("commit to counters", () => describeCounters(suite));
    describe("commit followed by another", () => describeNext(suite));
    describe("watch", () => describeWatch(suite));
    describe("watch from a revision", () => describeWatchResume(suite));
    describe("firstRevision, and history that is gone", () => describeHistory(suite));
    describe("reopen", () => describeReopen(suite));
    describe("close", () => describeClose(suite));
    describe("all of it, against a model", () => describeModel(suite));
  });
}
