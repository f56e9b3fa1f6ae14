/**
 * T-X4: every decoder of stored bytes, given bytes that have changed in all ways, also such that their checksums are right again, and
 * bytes of chance. Each returns a value, or says in its own way that they are none, soon and in little memory.
 *
 * FUZZ_RECORDS: how many (default 8,000). FUZZ_SEED: of the first 1,000; each 1,000 has its own, so what one prints plays it again from its
 * beginning. What a mutation of a whole record does in a store is for test/store/level-mutations.test.ts.
 */
import { expect, test } from "vitest";
import { SeededRandom } from "../support/seeded-random.ts";
import { type Decoder, decoders, scratch } from "./decoders.ts";
import { printFigures, readFuzzDose, Tally } from "./fuzz-dose.ts";
import { byteMutations, mutateBytes } from "./mutate-bytes.ts";

const dose = readFuzzDose("FUZZ_RECORDS", 8_000);
const perSeed = 1_000;

const weights = Object.fromEntries(Object.entries(decoders).map(([name, { weight }]) => [name, weight]));
/** A decoder that takes that long hangs; a busy machine does not. */
const hangCpuMs = 2_000;

test(`${dose.count} times stored bytes that have changed are read, or said to be damaged`, {
  timeout: 60_000 + dose.count * 5,
}, async () => {
  await using _ = scratch;
  const beganMs = performance.now();
  const before = process.memoryUsage().rss;
  const seen = new Tally();
  const kinds = new Tally();
  for (let count = 0, part = 0; count < dose.count; part += 1) {
    const seed = dose.seed + part;
    const random = new SeededRandom(seed);
    for (let i = 0; i < perSeed && count < dose.count; i += 1, count += 1) {
      const name = random.weighted(weights);
      const { sound, seal, decode } = decoders[name] as Decoder;
      const own = random.pick(sound);
      const kind = random.pick(byteMutations);
      let bytes = Buffer.from(mutateBytes(kind, own, random.pick(sound), random));
      const isSealed = seal !== undefined && random.chance(0.7);
      if (isSealed) bytes = Buffer.from(seal(bytes));
      const cpu = process.cpuUsage();
      try {
        const isRead = await decode(bytes, random);
        const { user, system } = process.cpuUsage(cpu);
        if ((user + system) / 1_000 > hangCpuMs) throw new Error(`it took ${(user + system) / 1_000} ms`);
        seen.add(isRead ? `${name} read` : `${name} refused`);
      } catch (error) {
        const command = `FUZZ_SEED=${seed} FUZZ_RECORDS=${i + 1} npx vitest run test/fuzz/records.test.ts`;
        const shown = `${name}, ${kind}${isSealed ? ", sealed" : ""}: ${bytes.subarray(0, 500).toString("hex")}`;
        throw new Error(`${String(error)}\n${shown}\n${command}`, { cause: error });
      }
      kinds.add(isSealed ? `${kind} sealed` : kind);
    }
  }
  if (dose.isAsked) printFigures("fuzzed records", dose, beganMs, `${seen}; ${kinds}`);
  expect(process.memoryUsage().rss - before).toBeLessThan(300 * 1024 * 1024);
  for (const [name, { weight }] of Object.entries(decoders)) {
    const least = (dose.count * weight) / 1_000 - 5;
    expect(seen.of(`${name} read`) + seen.of(`${name} refused`), name).toBeGreaterThan(least);
    if (weight >= 1) expect(seen.of(`${name} read`), `${name} read`).toBeGreaterThan(least / 100);
    if (weight >= 1) expect(seen.of(`${name} refused`), `${name} refused`).toBeGreaterThan(least / 100);
  }
  for (const kind of byteMutations) expect(kinds.of(`${kind} sealed`), kind).toBeGreaterThan(dose.count / 100);
});
