import { mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Interrupted } from "../../../src/cli/io.ts";
import { runProgram } from "../../../src/cli/program.ts";
import { openStore } from "../../../src/store/open.ts";
import { eventually } from "../../support/eventually.ts";
import { makeScratchDirectory } from "../../support/scratch-directory.ts";
import { createFakeIo } from "../support/fake-io.ts";
import { runCommand } from "../support/run-command.ts";

/** A store with a value, a counter and an index entry, in `store` of the directory. */
async function makeStore(directory: string): Promise<string> {
  const path = join(directory, "store");
  await using store = await openStore(`level:${path}`);
  await store.commit([
    { type: "put", key: "a", value: Buffer.from("a value that stands out") },
    { type: "add", key: "n", delta: 1n },
    { type: "index", key: "i", value: Buffer.alloc(0) },
  ]);
  return path;
}

/** Changes the value in the log, whose own checksum is put right by LevelDB when it writes it to a table; here the record is damaged. */
async function damageLog(path: string): Promise<void> {
  const names = (await readdir(join(path, "db"))).filter((name) => name.endsWith(".log")).sort();
  for (const name of names) {
    const log = await readFile(join(path, "db", name));
    const at = log.indexOf("stands out");
    if (at >= 0) log[at]! ^= 1;
    await writeFile(join(path, "db", name), log);
  }
}

describe("stint store", () => {
  test("takes no empty path, as that of a variable that is not set", async () => {
    for (const args of [
      ["verify", "--store", ""],
      ["backup", "--to", ""],
      ["restore", "one.backup", "--to", ""],
      ["repair", "--to", ""],
    ]) {
      const { code, err } = await runCommand(["store", ...args]);
      expect({ code, err }).toEqual({ code: 2, err: expect.stringContaining("It must not be empty") as unknown });
    }
  });

  test("is over when it is asked to stop", async () => {
    await using scratch = await makeScratchDirectory();
    const path = await makeStore(scratch.path);
    const io = createFakeIo();
    io.interrupt(new Interrupted("SIGINT"));
    expect(await runProgram(["store", "verify", "--store", path], io)).toBe(130);
    expect(io.stdout.text).toBe("");
    // The program would end now. Here what it had begun goes on, with the lock of a store whose place another may get.
    await eventually(async () => (await openStore(`level:${path}`)).close());
  });
});

describe("stint store verify", () => {
  test("says that a store is sound and what is in it, as text and as JSON", async () => {
    await using scratch = await makeScratchDirectory();
    const path = await makeStore(scratch.path);
    const { code, out, err } = await runCommand(["store", "verify", "--store", path]);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(out.split("\n")).toEqual([
      `store ${path}: sound`,
      "  revision  1, history from 0",
      "  content   0 tasks, 1 keys, 1 index entries, 1 counters, 1 journal blocks",
      expect.stringMatching(/^ {2}state {5}sha256:[\da-f]{64}$/) as unknown,
      "",
    ]);
    const json = await runCommand(["store", "verify", "-o", "json"], undefined, { env: { STINT_DATA_DIR: path } });
    expect(json.code).toBe(0);
    expect(JSON.parse(json.out)).toMatchObject({ path, kind: "store", isSound: true, opens: true, revision: 1 });
  });

  test("exits with 7 where no server opens the store, and says why", async () => {
    await using scratch = await makeScratchDirectory();
    const path = await makeStore(scratch.path);
    await rm(join(path, "db", "CURRENT"));
    const { code, out } = await runCommand(["store", "verify", "--store", path]);
    expect(code).toBe(7);
    expect(out).toContain("DAMAGED: no server opens it");
    expect(out).toContain("- db/CURRENT is missing");
  });

  test("exits with 5 where the store is in use, and with 2 where there is none", async () => {
    await using scratch = await makeScratchDirectory();
    const path = await makeStore(scratch.path);
    await using _open = await openStore(`level:${path}`);
    const locked = await runCommand(["store", "verify", "--store", path]);
    expect(locked).toMatchObject({ code: 5, out: "", err: expect.stringContaining("has the store") as unknown });
    expect(locked.err).toContain("hint: stop the server on it");
    const nothing = await runCommand(["store", "verify", "--store", join(scratch.path, "none")]);
    expect(nothing).toMatchObject({ code: 2, err: expect.stringContaining("there is no store in") as unknown });
    await mkdir(join(scratch.path, "empty"));
    expect((await runCommand(["store", "verify", "--store", join(scratch.path, "empty")])).code).toBe(2);
  });
});

describe("stint store backup and restore", () => {
  test("make the same store, which its state says", async () => {
    await using scratch = await makeScratchDirectory();
    const path = await makeStore(scratch.path);
    const file = join(scratch.path, "one.backup");
    const target = join(scratch.path, "restored");
    const backup = await runCommand(["store", "backup", "--store", path, "--to", file]);
    expect(backup).toMatchObject({ code: 0, err: "" });
    expect(backup.out).toMatch(/^backup of .*store in .*one.backup, verified\n/);
    const restore = await runCommand(["store", "restore", file, "--to", target]);
    expect(restore).toMatchObject({ code: 0, err: "" });
    const stateOf = (out: string): string | undefined => /sha256:\w+/.exec(out)?.[0];
    const verified = await runCommand(["store", "verify", "--store", target]);
    expect([stateOf(restore.out), stateOf(verified.out)]).toEqual([stateOf(backup.out), stateOf(backup.out)]);
    const again = await runCommand(["store", "restore", file, "--to", target]);
    expect(again).toMatchObject({ code: 2, err: expect.stringContaining("is not empty") as unknown });
  });

  test("refuse a place in the store itself, one that is a link, and a name that ends like a directory's gets its file", async () => {
    await using scratch = await makeScratchDirectory();
    const path = await makeStore(scratch.path);
    const inside = await runCommand(["store", "backup", "--store", path, "--to", join(path, "backups", "one")]);
    expect(inside).toMatchObject({ code: 2, err: expect.stringContaining("lies in the store") as unknown });
    const repaired = await runCommand(["store", "repair", "--store", path, "--to", join(path, "db", "new")]);
    expect(repaired).toMatchObject({ code: 2, err: expect.stringContaining("lies in the store") as unknown });
    const file = join(scratch.path, "one.backup");
    expect(await runCommand(["store", "backup", "--store", path, "--to", `${file}/`])).toMatchObject({
      code: 0,
      err: "",
    });
    await mkdir(join(scratch.path, "volume"));
    await symlink(join(scratch.path, "volume"), join(scratch.path, "link"));
    const linked = await runCommand(["store", "restore", file, "--to", join(scratch.path, "link")]);
    expect(linked).toMatchObject({
      code: 2,
      err: expect.stringContaining("is a link; name a new directory in it") as unknown,
    });
    expect(await runCommand(["store", "restore", file, "--to", join(scratch.path, "link", "new")])).toMatchObject({
      code: 0,
    });
  });

  test("what a restore has left that was cut short is no place for a server", async () => {
    await using scratch = await makeScratchDirectory();
    const left = join(scratch.path, "restored.unfinished");
    await mkdir(left);
    await expect(openStore(`level:${left}`)).rejects.toMatchObject({
      code: "DAMAGED",
      message: expect.stringContaining("cut short") as unknown,
    });
    expect(await readdir(left)).toEqual([]);
  });

  test("exit with 7 where the backup is not whole", async () => {
    await using scratch = await makeScratchDirectory();
    const file = join(scratch.path, "one.backup");
    await runCommand(["store", "backup", "--store", await makeStore(scratch.path), "--to", file]);
    await writeFile(file, (await readFile(file)).subarray(0, -1));
    const { code, err } = await runCommand(["store", "restore", file, "--to", join(scratch.path, "restored")]);
    expect({ code, err }).toEqual({
      code: 7,
      err: expect.stringContaining("it does not end where it should") as unknown,
    });
    expect(await readdir(scratch.path)).toEqual(["one.backup", "store"]);
  });
});

describe("stint store repair", () => {
  test("takes everything where only CURRENT is lost, and exits with 0", async () => {
    await using scratch = await makeScratchDirectory();
    const path = await makeStore(scratch.path);
    const state = /sha256:\w+/.exec((await runCommand(["store", "verify", "--store", path])).out)?.[0];
    await rm(join(path, "db", "CURRENT"));
    const target = join(scratch.path, "repaired");
    const { code, out } = await runCommand(["store", "repair", "--store", path, "--to", target]);
    expect(code).toBe(0);
    expect(out).toContain("nothing is lost, as far as can be told");
    expect(out).toContain(state);
    expect((await runCommand(["store", "verify", "--store", target])).code).toBe(0);
  });

  test("says what is lost, exits with 8, and keeps the bytes", async () => {
    await using scratch = await makeScratchDirectory();
    const path = await makeStore(scratch.path);
    await damageLog(path);
    const target = join(scratch.path, "repaired");
    const { code, out } = await runCommand(["store", "repair", "--store", path, "--to", target]);
    expect(code).toBe(8);
    expect(out).toContain("SOMETHING IS LOST");
    expect(out).toMatch(/pieces are kept in quarantine/);
    const list = JSON.parse(await readFile(join(target, "quarantine", "list.json"), "utf8")) as { file: string }[];
    const kept = await readFile(join(target, "quarantine", list[0]?.file ?? ""), "latin1");
    expect(kept).toContain("a value that ");
    await using store = await openStore(`level:${target}`);
    expect(await store.get("n")).toBeDefined();
  });

  test("makes nothing where nothing is left", async () => {
    await using scratch = await makeScratchDirectory();
    const path = await makeStore(scratch.path);
    await rm(join(path, "db"), { recursive: true });
    const { code, err } = await runCommand(["store", "repair", "--store", path, "--to", join(scratch.path, "x")]);
    expect({ code, err }).toEqual({ code: 7, err: expect.stringContaining("nothing of the store") as unknown });
    expect(await readdir(scratch.path)).toEqual(["store"]);
  });
});

test("the help of all of them has an example", async () => {
  for (const name of ["verify", "backup", "restore", "repair"]) {
    const { code, out } = await runCommand(["store", name, "--help"]);
    expect({ code, out }).toEqual({ code: 0, out: expect.stringContaining(`stint store ${name}`) as unknown });
  }
});
