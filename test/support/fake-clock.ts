/** The clock of tests. It is the conformance suite's, which is published and so lies in src. */
export { createFakeClock, type FakeClock } from "../../src/store-conformance/fake-clock.ts";
