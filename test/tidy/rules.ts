/** The rules that tidy.test.ts holds. Whoever has a reason to break one writes it down here. */

/** Importable by all but src/task, and importing nothing of ours. */
const ports = [
  "src/async/",
  "src/clock.ts",
  "src/faults.ts",
  "src/json-text.ts",
  "src/log.ts",
  "src/make-directory.ts",
  "src/random.ts",
];

export interface FolderRule {
  /** A folder, or a file right in src. */
  readonly of: string;
  /** Folders and files of ours that it may import beside itself. */
  readonly ours: readonly string[];
  /** Modules of others, each with what is below it. */
  readonly others: readonly string[];
}

/** Who may import whom, for values or only for types; docs/architecture.md has the picture. */
export const folderRules: readonly FolderRule[] = [
  { of: "src/async/", ours: ["src/clock.ts"], others: [] },
  { of: "src/clock.ts", ours: [], others: [] },
  { of: "src/faults.ts", ours: ["src/clock.ts", "src/log.ts"], others: [] },
  { of: "src/json-text.ts", ours: [], others: [] },
  { of: "src/log.ts", ours: [], others: [] },
  { of: "src/make-directory.ts", ours: [], others: ["node:fs", "node:path"] },
  { of: "src/random.ts", ours: [], others: ["node:crypto"] },
  { of: "src/messages/", ours: [], others: ["@bufbuild/protobuf"] },
  { of: "src/task/", ours: ["gen/", "src/messages/"], others: ["@bufbuild/protobuf"] },
  {
    of: "src/store/",
    ours: ["gen/", "src/messages/", ...ports],
    others: ["@bufbuild/protobuf", "level", "node:crypto", "node:fs", "node:path"],
  },
  {
    of: "src/runner/",
    ours: ["gen/", ...ports],
    others: [
      "@bufbuild/protobuf",
      "node:child_process",
      "node:fs",
      "node:path",
      "node:stream",
      "node:timers",
      "node:util",
    ],
  },
  {
    // Published, for programs that run tasks on other machines: of the controller it knows what a runner knows, and of the server nothing.
    of: "src/runner-client/",
    ours: [
      "gen/",
      "src/task/",
      "src/controller/active-task.ts",
      "src/controller/describe-error.ts",
      "src/controller/error.ts",
      "src/controller/phase.ts",
      "src/controller/task-runner.ts",
      "src/messages/",
      ...ports,
    ],
    others: ["@bufbuild/protobuf", "@grpc/grpc-js", "node:os", "node:tls", "node:worker_threads"],
  },
  {
    of: "src/controller/",
    ours: ["gen/", "src/task/", "src/store/store.ts", "src/store/keys.ts", "src/store/codec.ts", ...ports],
    others: ["@bufbuild/protobuf", "node:assert", "node:crypto", "node:events"],
  },
  {
    of: "src/rpc/",
    ours: ["gen/", "src/messages/", "src/task/", "src/controller/", ...ports],
    others: ["@bufbuild/protobuf", "@bufbuild/protovalidate", "@connectrpc/connect", "node:zlib"],
  },
  {
    of: "src/server/",
    ours: [
      "gen/",
      "src/task/",
      "src/controller/",
      "src/rpc/",
      "src/runner/",
      "src/store/store.ts",
      "src/store/open.ts",
      ...ports,
    ],
    others: [
      "@bufbuild/protobuf",
      "@connectrpc/connect",
      "@connectrpc/connect-node",
      "node:crypto",
      "node:events",
      "node:fs",
      "node:http",
      "node:http2",
      "node:net",
      "node:path",
      "node:tls",
      "node:url",
      "tsx",
      "yaml",
      "zod",
    ],
  },
  {
    of: "src/cli/",
    // Of the store its errors, as a server that cannot be started says why with one, and the tools for one that nobody has open. Of the tasks what cuts a text.
    ours: [
      "gen/",
      "src/server/",
      "src/runner/",
      "src/runner-client/",
      "src/store/store.ts",
      "src/store/maintenance.ts",
      "src/store/store-report.ts",
      "src/task/limits.ts",
      ...ports,
    ],
    others: [
      "@bufbuild/protobuf",
      "@grpc/grpc-js",
      "commander",
      "node:fs",
      "node:path",
      "node:stream",
      "node:util",
      "picocolors",
      "pino",
    ],
  },
  // Published, for backends of others: it knows the seam and no backend.
  { of: "src/store-conformance/", ours: ["src/store/store.ts", "src/clock.ts"], others: ["fast-check", "node:assert"] },
  { of: "src/index.ts", ours: ["gen/", "src/"], others: [] },
];

/** Within what the folders may: what is for some importers only. */
export const reserved: readonly { readonly target: RegExp; readonly by: RegExp; readonly because: string }[] = [
  {
    target: /^src\/store\/level-/,
    by: /^src\/store\/(level-.*|open|maintenance)\.ts$/,
    because: "openStore and the tools know the backends",
  },
  { target: /^src\/store\/memory/, by: /^src\/store\/(memory.*|open)\.ts$/, because: "openStore knows the backends" },
  { target: /^src\/store\/open\.ts$/, by: /^src\/(server\/.*|index)\.ts$/, because: "the composition root chooses" },
  {
    target: /^level$/,
    by: /^src\/store\/level-(database|lock)\.ts$/,
    because: "tests put a failing disk in its place",
  },
  { target: /^src\/(index\.ts|store-conformance\/)/, by: /^src\/store-conformance\//, because: "it is for users" },
];

/** The one import whose name is known only at run time: the module of a runner. */
export const computedImport = "src/server/load-runner.ts";

/** What reads the clock, chance or the process, and what makes timers and turns of the event loop. */
export const worldlyNames: readonly string[] = [
  "AbortSignal.any",
  "AbortSignal.timeout",
  "Date",
  "FinalizationRegistry",
  "Math.random",
  "WeakRef",
  "WebSocket",
  "console",
  "crypto",
  "fetch",
  "global",
  "globalThis",
  "performance",
  "process",
  "queueMicrotask",
  "setImmediate",
  "setInterval",
  "setTimeout",
];
/** Modules of Node's that only work on what they are given; all others reach out into the world. */
export const pureModules: readonly string[] = [
  "node:assert",
  "node:events",
  "node:path",
  "node:stream",
  "node:url",
  "node:util",
  "node:zlib",
];
/** Names that are as pure, of modules that are not. */
export const pureImports: readonly string[] = ["node:crypto createHash", "node:tls createSecureContext"];
/** Names that are not, of modules that are pure otherwise. */
export const worldlyImports: readonly string[] = ["@bufbuild/protobuf/wkt timestampNow"];

export interface RealPort {
  readonly in: string;
  readonly reads: readonly string[];
  readonly because: string;
}

/** Where the world comes in. All else gets it handed in, so that tests can hold the clock and plan the chances. */
export const realPorts: readonly RealPort[] = [
  { in: "src/clock.ts", reads: ["Date.now", "performance.now", "setTimeout"], because: "the machine's clock" },
  { in: "src/random.ts", reads: ["Math.random", "node:crypto"], because: "the machine's chance" },
  { in: "src/async/next-turn.ts", reads: ["setImmediate"], because: "a turn of the event loop, which no clock tells" },
  { in: "src/make-directory.ts", reads: ["node:fs/promises"], because: "directories that may have none above them" },
  {
    in: "src/store/level-directory.ts",
    reads: ["node:crypto", "node:fs/promises"],
    because: "the directory of a LevelDB store; the names it makes need only be new",
  },
  { in: "src/store/level-opening.ts", reads: ["node:fs", "node:fs/promises"], because: "that directory" },
  { in: "src/store/level-marker.ts", reads: ["node:fs", "node:fs/promises"], because: "its marker" },
  { in: "src/store/level-lock.ts", reads: ["node:fs/promises"], because: "its lock" },
  { in: "src/store/level-check.ts", reads: ["node:fs/promises"], because: "what is checked of its files" },
  { in: "src/store/level-offline.ts", reads: ["node:fs", "node:fs/promises"], because: "a store that nobody has open" },
  { in: "src/store/level-verify.ts", reads: ["node:fs/promises"], because: "the same" },
  { in: "src/store/level-backup.ts", reads: ["node:fs/promises"], because: "its backup" },
  {
    in: "src/store/level-cut.ts",
    reads: ["node:crypto", "node:fs/promises"],
    because: "the files of a store at one moment",
  },
  { in: "src/store/level-staging.ts", reads: ["node:fs/promises"], because: "a store that is being made" },
  { in: "src/store/level-quarantine.ts", reads: ["node:fs/promises"], because: "what a repair keeps" },
  { in: "src/store/level-repair.ts", reads: ["node:crypto", "node:fs/promises"], because: "what it makes" },
  { in: "src/store/level-archive.ts", reads: ["node:fs/promises"], because: "the file of a backup" },
  {
    in: "src/server/",
    reads: ["node:crypto", "node:fs/promises", "node:http", "node:http2", "node:net", "node:tls"],
    because: "the network, and the files that a configuration names",
  },
  {
    in: "src/runner/",
    reads: ["node:child_process", "node:fs", "node:fs/promises", "process.kill", "process.pid", "process.platform"],
    because: "the processes of this machine",
  },
  {
    in: "src/runner-client/run-remote.ts",
    reads: ["node:os", "process.off", "process.on", "process.pid"],
    because: "a runner is drained by a signal of its process, and named after its machine and that",
  },
  {
    in: "src/runner-client/",
    reads: ["node:worker_threads"],
    because: "the connection has a thread of its own",
  },
  {
    in: "src/store-conformance/fake-clock.ts",
    reads: ["setImmediate"],
    because: "a clock that stands still lets all that is ready go on before time passes",
  },
  { in: "src/cli/main.ts", reads: ["process"], because: "the process itself, as Io for the commands" },
  { in: "src/cli/version.ts", reads: ["node:fs"], because: "the version stands in package.json" },
  { in: "src/cli/client-command.ts", reads: ["node:fs/promises"], because: "--ca" },
  { in: "src/cli/commands/launch.ts", reads: ["node:fs/promises"], because: "--metadata-file" },
];

export const softMaxLines = 300;
export const hardMaxLines = 450;

/** Files above the soft limit, and why they are not two. */
export const longFiles: Readonly<Record<string, string>> = {
  "test/faults.test.ts": "one table of faults",
  "test/controller/bad-runners.test.ts": "one table of bad runners",
  "test/controller/deliveries.test.ts": "the cases of one promise, in its order",
  "test/controller/faults-world.ts": "one world, whose parts crash together",
  "test/controller/list-logs.test.ts": "the cases of one call",
  "test/controller/query.test.ts": "the cases of one call",
  "test/controller/resume-remote.test.ts": "the cases of one rule, each after a crash and after a stop",
  "test/controller/watch.test.ts": "the cases of one call",
  "test/controller/remote-instance.test.ts": "the life of an instance, case by case",
  "test/controller/remote-run.test.ts": "the life of a remote run, case by case",
  "test/controller/restart.test.ts": "the cases of one rule, in its order",
  "test/rpc/calls.test.ts": "the calls, one after the other",
  "test/runner-client/session.test.ts": "the cases of one protocol, in its order",
  "test/runner/exec-runner.test.ts": "one table of commands",
  "test/server/connections.test.ts": "the life of a connection, case by case",
  "test/server/hostile.test.ts": "one table of hostile requests",
  "test/simulation/ledger.ts": "all that is held against what is on disk, promise by promise",
  "test/server/stream-lane.test.ts": "the calls of one lane, case by case",
  "test/store/key-value-store.test.ts": "the cases of one interface, method by method",
};

/** Folders of tests that mirror none of src, and what they have. */
export const testFolders: Readonly<Record<string, string>> = {
  "test/clients/": "what people call with, as they have it: grpcurl, the package, README",
  "test/e2e/": "the built program, in processes of its own",
  "test/fuzz/": "whatever bytes somebody could send or a disk could have",
  "test/endurance/": "the built program for long, or with more to do than it can",
  "test/messages/": "the bytes of what proto/ declares",
  "test/scale/": "many tasks at one time",
  "test/simulation/": "worlds in which everything fails that can",
  "test/support/": "what tests share, and the tests of that",
  "test/tidy/": "what tidy.test.ts is made of",
};
