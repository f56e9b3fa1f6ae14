import { describe, expect, test } from "vitest";
import { describeStore as describeWith } from "../../src/store-conformance/describe-store.ts";
import type { OpenStoreUnderTest } from "../../src/store-conformance/suite.ts";

/** The conformance suite in vitest. STINT_STORE_RUNS says how many random histories are tried. */
export function describeStore(name: string, open: OpenStoreUnderTest): void {
  const histories = Number(process.env.STINT_STORE_RUNS ?? 25);
  describeWith(name, open, { describe, expect, test, histories });
}
