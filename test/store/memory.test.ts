import { openMemoryStore } from "../../src/store/memory.ts";
import { describeStore } from "./conformance.ts";

describeStore("the memory store", async (options) => ({ store: await openMemoryStore(options) }));
