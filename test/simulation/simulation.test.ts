/**
 * Worlds in which everything fails that can, one after the other, by plans of chance.
 *
 * SIM_WORLDS: how many; by default a few, which are the same each time. SIM_SEED: of fast-check, for the same plans again; new ones otherwise.
 * SIM_SIZE: "small", "middling" or "large" worlds alone. SIM_SHRINK: "no" for a failure as it is. SIM_REPLAY: plays one plan, as a failure has
 * printed it. One that was broken, and is mended, goes to corpus/, as JSON.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodePlan, encodePlan, faultKinds, isSize, type Plan, plansOfSize } from "./plan.ts";
import { playWorld, type WorldReport } from "./world.ts";

const dose = process.env["SIM_WORLDS"];
const worlds = Number(dose ?? 320);
const seed = process.env["SIM_SEED"] ?? (dose === undefined ? "7" : undefined);
const size = process.env["SIM_SIZE"] ?? "any";
const replay = process.env["SIM_REPLAY"];
const corpus = new URL("./corpus/", import.meta.url);
const timeout = dose === undefined ? 300_000 : 7_200_000;

let isFailureShown = false;

async function expectSound(plan: Plan): Promise<WorldReport> {
  const report = await playWorld(plan);
  if (report.problems.length === 0) return report;
  const command = `SIM_REPLAY='${encodePlan(plan)}' npx vitest run test/simulation/simulation.test.ts`;
  // At once: to make it smaller takes a while, and may be cut short.
  if (!isFailureShown) console.error(`${report.problems.slice(0, 5).join("\n")}\n${command}`);
  isFailureShown = true;
  throw new Error(`${report.problems.slice(0, 5).join("\n")}\n${report.story.join("\n")}\n${command}`);
}

/** What all worlds did together. */
class Tally {
  worlds = 0;
  events = 0;
  simulatedMs = 0;
  resumed = 0;
  readonly fired: Record<string, number> = {};
  readonly acknowledged: Record<string, number> = {};

  add(report: WorldReport): void {
    this.worlds += 1;
    this.events += report.events;
    this.simulatedMs += report.simulatedMs;
    this.resumed += report.resumed;
    for (const [kind, count] of Object.entries(report.fired)) this.fired[kind] = (this.fired[kind] ?? 0) + count;
    for (const [kind, count] of Object.entries(report.acknowledged))
      this.acknowledged[kind] = (this.acknowledged[kind] ?? 0) + count;
  }

  print(tookMs: number, cpu: NodeJS.CpuUsage): void {
    const hours = this.simulatedMs / 3_600_000;
    const perSecond = (this.worlds / tookMs) * 1_000;
    const cpuMs = (cpu.user + cpu.system) / 1_000 / this.worlds;
    console.log(
      `${this.worlds} worlds, ${perSecond.toFixed(1)} a second, ${cpuMs.toFixed(0)} ms of CPU each; ${hours.toFixed(1)} simulated hours, ${this.events} events`,
    );
    console.log("acknowledged", JSON.stringify(this.acknowledged), "watches resumed", this.resumed);
    console.log("faults", JSON.stringify(this.fired));
  }
}

describe.runIf(replay !== undefined)("a world of before", () => {
  test("is sound", { timeout: 120_000 }, async () => {
    const report = await playWorld(decodePlan(replay ?? ""));
    console.log(JSON.stringify(report, undefined, 2));
    expect(report.problems).toEqual([]);
  });
});

describe.skipIf(replay !== undefined)("simulated worlds", () => {
  const files = (existsSync(corpus) ? readdirSync(corpus) : []).filter((name) => name.endsWith(".json"));
  test.each(files)("the world of %s, which was broken once, is sound", async (name) => {
    await expectSound(JSON.parse(readFileSync(new URL(name, corpus), "utf8")) as Plan);
  });

  test(`in ${worlds} worlds every promise is kept, and each is the same when it is played again`, {
    timeout,
  }, async () => {
    if (!isSize(size)) throw new RangeError(`SIM_SIZE is ${size}`);
    const plans = plansOfSize(size);
    const tally = new Tally();
    const began = performance.now();
    const cpu = process.cpuUsage();
    await fc.assert(
      fc.asyncProperty(plans, async (plan) => {
        const report = await expectSound(plan);
        tally.add(report);
        if (tally.worlds % 50 !== 1) return;
        expect((await playWorld(plan)).traceHash, "the hash of the trace").toBe(report.traceHash);
      }),
      {
        numRuns: worlds,
        endOnFailure: process.env["SIM_SHRINK"] === "no",
        ...(seed === undefined ? {} : { seed: Number(seed) }),
      },
    );
    if (dose !== undefined) tally.print(performance.now() - began, process.cpuUsage(cpu));
    // Worlds in which nothing happens prove nothing.
    for (const kind of ["launch", "cancel", "get", "wait", "list"])
      expect(tally.acknowledged[kind] ?? 0, kind).toBeGreaterThan(worlds / 32);
    expect(tally.resumed, "watches resumed").toBeGreaterThan(worlds / 8);
    // A write is torn where the power fails in it, which few worlds have.
    for (const kind of worlds < 1_000 ? faultKinds : [...faultKinds, "torn"])
      expect(tally.fired[kind] ?? 0, kind).toBeGreaterThan(Math.floor(worlds / 500));
  });
});
