/**
 * The conformance suite of the storage seam (src/store/store.ts), for backends
 * of ours and of others. A backend's whole test is:
 *
 *   describeStore("my store", async (options) => ({ store: await openMyStore(options) }));
 *
 * It asks for vitest and fast-check, and for nothing of the backend but the
 * interface. One `describe` below is one operation or one of its promises.
 *
 * The clock that a store is given stands still until a test moves it: a
 * backend may put off what nobody waits for (writing back, pruning), but must
 * not need the clock to answer a call. A new store's commits are expected to
 * have the revisions 1, 2, 3 and so on.
 */
import { describe } from "vitest";
import { describeClose } from "./conformance/close.ts";
import { describeCommit } from "./conformance/commit.ts";
import { describeConditions } from "./conformance/conditions.ts";
import { describeCounters } from "./conformance/counters.ts";
import { describeGet } from "./conformance/get.ts";
import type { OpenStoreUnderTest } from "./conformance/harness.ts";
import { describeHistory } from "./conformance/history.ts";
import { describeIndex } from "./conformance/index-entries.ts";
import { describeKeys } from "./conformance/keys.ts";
import { describeModel } from "./conformance/model.ts";
import { describeReopen } from "./conformance/reopen.ts";
import { describeScan } from "./conformance/scan.ts";
import { describeWatch } from "./conformance/watch.ts";
import { describeWatchResume } from "./conformance/watch-resume.ts";

/** Declares the suite's tests for the stores that `open` opens, each on data of its own. */
export function describeStore(name: string, open: OpenStoreUnderTest): void {
  describe(`${name} as a Store`, () => {
    describe("keys", () => describeKeys(open));
    describe("get", () => describeGet(open));
    describe("scan", () => describeScan(open));
    describe("commit", () => describeCommit(open));
    describe("commit with conditions", () => describeConditions(open));
    describe("commit of index entries", () => describeIndex(open));
    describe("commit to counters", () => describeCounters(open));
    describe("watch", () => describeWatch(open));
    describe("watch from a revision", () => describeWatchResume(open));
    describe("firstRevision, and history that is gone", () => describeHistory(open));
    describe("reopen", () => describeReopen(open));
    describe("close", () => describeClose(open));
    describe("all of it, against a model", () => describeModel(open));
  });
}
