/**
 * Loaded into the server before its program (node --import): tunes its store, and kills the process at the n-th passage of a place.
 * The product knows nothing of it: what passes there is seen through the methods of its classes, through Node's file system, and
 * by the tables that LevelDB writes. STINT_KILL_PLAN: see Plan in failpoint.ts.
 */
import { existsSync, watch, writeFileSync } from "node:fs";
import fileSystem from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { Level } from "level";

const plan = JSON.parse(process.env["STINT_KILL_PLAN"] ?? "{}");
// What the server starts is not to be killed.
delete process.env["STINT_KILL_PLAN"];
delete process.env["NODE_OPTIONS"];

const dist = new URL("../../../dist/store/", import.meta.url);
let passagesLeft = plan.passage ?? 0;

function pass(place) {
  if (place !== plan.place) return;
  passagesLeft -= 1;
  if (passagesLeft !== 0) return;
  writeFileSync(plan.firedFile, place);
  process.kill(process.pid, "SIGKILL");
}

/** Puts in the place of a method what `wrap` makes of it. */
function replace(owner, name, wrap) {
  const original = owner[name];
  owner[name] = wrap(original);
}

const journalLetter = "J".charCodeAt(0);

const { LevelSession } = await import(new URL("level-session.js", dist).href);
replace(
  LevelSession.prototype,
  "write",
  (write) =>
    async function passingWrite(operations, sync) {
      const isCommit = operations[0]?.key[0] === journalLetter && operations[0].type === "put";
      pass(isCommit ? "before the batch" : "around a round");
      await write.call(this, operations, sync);
      pass(isCommit ? "after the batch" : "around a round");
    },
);
replace(
  LevelSession.prototype,
  "iterate",
  (iterate) =>
    function passingIterate(range, use) {
      // The first that a session does is to iterate.
      Object.assign(this.options, plan.store);
      pass("opening");
      return iterate.call(this, range, use);
    },
);

const { Committer } = await import(new URL("level-committer.js", dist).href);
replace(
  Committer.prototype,
  "commit",
  (commit) =>
    async function passingCommit(changes, conditions) {
      const revision = await commit.call(this, changes, conditions);
      pass("after publishing");
      return revision;
    },
);

replace(
  Level.prototype,
  "_open",
  (open) =>
    async function passingOpen(options) {
      pass("opening");
      // One that is only being made has no tables to compact.
      if (this.location.endsWith("/db") && existsSync(this.location)) passTables(this.location);
      const writeBufferSize = plan.writeBufferBytes ?? options.writeBufferSize;
      await open.call(this, { ...options, writeBufferSize });
      pass("opening");
    },
);

/** LevelDB works in threads of its own: the beginning of a table is what can be seen of a compaction. */
function passTables(location) {
  const seen = new Set();
  const watcher = watch(location, (_, name) => {
    if (name === null || !name.endsWith(".ldb") || seen.has(name)) return;
    seen.add(name);
    pass("compacting");
  });
  watcher.unref();
  watcher.on("error", () => {});
}

// What an opening does to the files of the store, step by step.
for (const name of ["link", "mkdir", "open", "readdir", "rename", "rm"]) {
  replace(
    fileSystem,
    name,
    (call) =>
      function passingCall(path, ...rest) {
        if (String(path).startsWith(plan.data)) pass("opening");
        return call.call(this, path, ...rest);
      },
  );
}
syncBuiltinESMExports();
