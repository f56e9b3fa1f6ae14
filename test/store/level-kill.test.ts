/** SIGKILL at any moment, again and again, on one directory that lives on. KILL_ROUNDS: how often (default 5). */
import { fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { openLevelStore } from "../../src/store/level-store.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { makeScratch } from "./level-fixture.ts";
import { indexOf, keyOf, type Message, numberOf, victimOptions, writers } from "./level-victim.ts";

const rounds = Number(process.env["KILL_ROUNDS"] ?? 5);

/** Lets a process work on the store and kills it: one in three times while it opens. `acknowledged` gets each number that it sent. */
async function workAndKill(directory: string, round: number, acknowledged: number[]): Promise<void> {
  const child = fork(fileURLToPath(new URL("./level-victim.ts", import.meta.url)), [directory], {
    execArgv: ["--import", "tsx"],
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const exit = once(child, "exit");
  const fraction = (round * 0.618_034) % 1;
  let left = 20 + Math.floor(fraction * 400);
  child.on("message", (message: Message) => {
    if ("opening" in message) {
      if (round % 3 === 1) void sleep(fraction * 20).then(() => child.kill("SIGKILL"));
      return;
    }
    acknowledged[message.writer] = message.number;
    left -= 1;
    if (left === 0) child.kill("SIGKILL");
  });
  const [code] = await exit;
  expect(code, "the process ended by itself").toBeNull();
}

test(`killed ${rounds} times, a store has all that was acknowledged, whole`, {
  timeout: 60_000 + rounds * 20_000,
}, async () => {
  await using scratch = await makeScratch();
  const acknowledged = new Array<number>(writers).fill(0);
  for (let round = 0; round < rounds; round += 1) {
    await workAndKill(scratch.path, round, acknowledged);
    // With a clock that stands still: history must not end while it is looked at.
    const store = await openLevelStore(scratch.path, {
      ...victimOptions,
      clock: createFakeClock({ wallMs: Date.now() }),
    });
    let total = 0;
    for (let writer = 0; writer < writers; writer += 1) {
      const number = numberOf((await store.get(keyOf(writer)))?.value);
      expect(number, `writer ${writer} in round ${round}`).toBeGreaterThanOrEqual(acknowledged[writer]!);
      const entries = await store.scan({ prefix: `index ${writer}`, limit: 9 });
      expect(entries.map(({ key }) => key)).toEqual(number === 0 ? [] : [indexOf(writer, number)]);
      acknowledged[writer] = number;
      total += number;
    }
    const counter = await store.get("count");
    expect(counter === undefined ? 0n : Buffer.from(counter.value).readBigInt64BE()).toBe(BigInt(total));
    const first = store.firstRevision();
    const entries = await store.scan({ prefix: "key ", limit: 9, revision: first });
    expect(entries.every(({ corrupt }) => corrupt === undefined)).toBe(true);
    await store.close();
  }
  // Something was done between the kills, and history did end on the way.
  expect(Math.min(...acknowledged)).toBeGreaterThan(rounds);
  const store = await openLevelStore(scratch.path, victimOptions);
  expect(store.firstRevision()).toBeGreaterThan(0n);
  await store.close();
});
