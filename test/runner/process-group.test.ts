import { describe, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { endProcesses, untilGroupIsGone } from "../../src/runner/process-group.ts";
import type { ProcessTable, RunningProcess } from "../../src/runner/process-table.ts";
import { createFakeClock } from "../support/fake-clock.ts";

/** No process has such a pid. */
const nobody = 2 ** 22 + 5;

/** A table that shows these processes, one list a round, and then nothing. */
function createTable(rounds: ReadonlyArray<readonly RunningProcess[]>): ProcessTable & { listed: () => number } {
  let listed = 0;
  return {
    list: async () => rounds[listed++] ?? [],
    listed: () => listed,
    identify: (pid) => `boot/${pid}`,
    startedAt: () => 0,
    holders: async () => [],
  };
}

const processOf = (pid: number, groupId: number, token?: string): RunningProcess => ({
  pid,
  groupId,
  identity: `boot/${pid}`,
  startedAt: 0,
  loadToken: async () => token,
  isMarked: async () => false,
});

const ofToken = async (running: readonly RunningProcess[]): Promise<RunningProcess[]> => {
  const tokens = await Promise.all(running.map((each) => each.loadToken()));
  return running.filter((_, index) => tokens[index] === "ours");
};

async function endAll(table: ProcessTable): Promise<number> {
  const clock = createFakeClock();
  const ending = endProcesses(ofToken, { table, clock, log: silentLog });
  await clock.advance(1_000);
  return ending;
}

describe("ending processes waits", () => {
  test("for one that is ending, and so has lost its token", async () => {
    const table = createTable([
      [processOf(nobody, nobody, "ours")],
      [processOf(nobody, nobody)],
      [processOf(nobody, nobody)],
    ]);
    expect(await endAll(table)).toBe(1);
    expect(table.listed()).toBe(4);
  });

  test("for those of its group, which never had one", async () => {
    const member = processOf(nobody + 1, nobody);
    const other = processOf(nobody + 2, nobody + 2);
    const table = createTable([[processOf(nobody, nobody, "ours"), member, other], [member, other], [other]]);
    expect(await endAll(table)).toBe(2);
    expect(table.listed()).toBe(3);
  });

  test("for nothing where nothing is found", async () => {
    const table = createTable([[processOf(nobody, nobody)]]);
    expect(await endAll(table)).toBe(0);
    expect(table.listed()).toBe(1);
  });
});

test("a group that nobody is in is gone", async () => {
  const table = createTable([]);
  await untilGroupIsGone(nobody, { table, clock: createFakeClock(), log: silentLog });
  expect(table.listed()).toBe(0);
});
