import { describe, expect, test } from "vitest";
import { openFakeServer } from "../support/fake-server.ts";
import { runCommand } from "../support/run-command.ts";

describe("stint version", () => {
  test("needs no server", async () => {
    expect(await runCommand(["version"])).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^stint \d+\.\d+\.\d+\n$/) as unknown,
    });
  });

  test("asks one when told to", async () => {
    const handlers = {
      getServerInfo: () => ({
        version: "9.9.9",
        store: { kind: "level", durability: "sync", revision: 3n },
        faults: { leases_expired: 3n, crash_loops: 0n, loop_stalls: 1n },
      }),
    };
    await using server = await openFakeServer(handlers);
    const { out } = await runCommand(["version", "--server", server.address]);
    expect(out).toContain("\n  faults    leases_expired 3, loop_stalls 1\n");
    expect(out).toContain(`server 9.9.9 at ${server.address}\n  store     level, sync, revision 3\n`);
  });
});
