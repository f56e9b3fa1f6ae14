/** The configuration file: what may stand in it. */
import { z } from "zod";
import { checkVariableName } from "../runner/command-environment.ts";
import { checkArgument } from "../runner/command-template.ts";
import { checkCommand, checkProgram } from "../runner/resolve-command.ts";
import { controllerNamePattern } from "../task/ids.ts";
import { checkCorsOrigin } from "./cors.ts";
import { defaultLimits, type LimitName, limitNames, limitRange } from "./limits.ts";
import { checkListenAddress } from "./listen-address.ts";

/** The longest time that can be set, about a century: what is far longer is no time that a clock has. */
export const hoursMax = 1_000_000;

/** Where a key is: the keys and places that lead to it. */
export type ConfigPath = ReadonlyArray<PropertyKey>;

/** A text about which `check` has no complaint. */
function checkedText(check: (text: string) => string | undefined) {
  return z.string().superRefine(complainAbout(check));
}

function complainAbout<T>(check: (value: T) => string | undefined) {
  return (value: T, context: z.core.$RefinementCtx<T>): void => {
    const message = check(value);
    if (message !== undefined) context.addIssue({ code: "custom", message });
  };
}

const execSchema = z.strictObject({
  command: z
    .tuple([checkedText(checkProgram)], checkedText(checkArgument))
    .superRefine(complainAbout(checkCommand))
    .describe(
      "The program and its arguments; no shell. A program with a / is a file, relative to this one; any other is looked up in PATH. " +
        `In an argument \${metadata.KEY} stands for a value of the task's metadata.`,
    ),
  cwd: z.string().min(1).optional().describe("Where it runs. Default: where the server was started."),
  env: z.record(checkedText(checkVariableName), z.string()).optional().describe("Variables of its environment."),
  passEnv: z
    .array(checkedText(checkVariableName))
    .optional()
    .describe("Variables that it gets of the server's environment, besides PATH, HOME, LANG, TZ and their like."),
});

const controllerSchema = z.strictObject({
  name: z
    .string()
    .regex(controllerNamePattern, "must be 1 to 63 lower case letters, digits and - with a letter or digit first")
    .describe("The controller's name."),
  runner: z
    .strictObject({
      module: z.string().min(1).optional().describe("A TypeScript or JavaScript file that exports a TaskRunner."),
      exec: execSchema.optional().describe("A command that is run for each task."),
      remote: z
        .strictObject({})
        .optional()
        .describe("Programs that connect to the server run them (docs/protocol.md): {}."),
    })
    .refine(
      (runner) => Object.values(runner).filter((each) => each !== undefined).length === 1,
      "must have one of module, exec and remote",
    )
    .meta({
      description: "Who runs its tasks: a module, a command, or programs that connect.",
      oneOf: [{ required: ["module"] }, { required: ["exec"] }, { required: ["remote"] }],
    }),
  concurrency: z
    .int()
    .min(1)
    .max(10_000)
    .optional()
    .describe(
      "How many of its tasks run at one time, on all its runners together. Default limits.activeMax, for commands 64.",
    ),
  retentionHours: z
    .number()
    .min(0)
    .max(hoursMax)
    .optional()
    .describe("How long ended tasks are kept, for this controller. Default: as for all."),
  pendingTimeoutSeconds: timeoutSchema().describe(
    "How long onTaskPending may take before it is told to stop and its task fails. Default: for ever.",
  ),
  runningTimeoutSeconds: timeoutSchema().describe(
    "How long onTaskRunning, or the command, may take before it is told to stop and its task fails. Default: for ever.",
  ),
  logMaxEntries: limitSchema("logMaxEntries")
    .optional()
    .describe("How many log entries of a task are kept, for this controller. Default: as in limits."),
  logMaxBytes: limitSchema("logMaxBytes")
    .optional()
    .describe("How many bytes of log entries of a task are kept, for this controller. Default: as in limits."),
});

function timeoutSchema() {
  return z
    .number()
    .positive()
    .max(hoursMax * 3_600)
    .optional();
}

/** Something that does not go together with something else in the file. */
export interface Conflict {
  readonly path: ConfigPath;
  readonly message: string;
}

const limitsSchema = z.strictObject(
  Object.fromEntries(
    limitNames.map((name) => [name, limitSchema(name).optional().meta({ default: defaultLimits[name] })]),
  ) as Record<LimitName, z.ZodOptional<ReturnType<typeof limitSchema>>>,
);

function limitSchema(name: LimitName) {
  const { min, max } = limitRange(name);
  return z.int().min(min).max(max);
}

/** The schema of the file. Paths in it are relative to the file. */
export const configSchema = z.strictObject({
  listen: checkedText(checkListenAddress).optional().describe("HOST:PORT to listen on. Default 127.0.0.1:7846."),
  dataDir: z
    .string()
    .min(1)
    .optional()
    .describe("Where the store is. Default ./stint-data, where the server is started."),
  insecure: z
    .boolean()
    .optional()
    .describe("Allows an address that other machines can reach, without TLS. Default false."),
  tlsCert: z
    .string()
    .min(1)
    .optional()
    .describe(
      "A PEM file with the certificate and those that lead to its root. With tlsKey: TLS. Looked at every 5 s.",
    ),
  tlsKey: z.string().min(1).optional().describe("A PEM file with the certificate's key."),
  corsOrigins: z
    .array(checkedText(checkCorsOrigin))
    .max(100)
    .optional()
    .describe("The origins of pages that may call, such as https://tasks.example.com. Default none."),
  reflection: z.boolean().optional().describe("Whether clients can ask what is served, and how. Default true."),
  logLevel: z.enum(["debug", "info", "warn", "error"]).optional().describe("What is logged. Default info."),
  historyHours: z
    .number()
    .positive()
    .max(hoursMax)
    .optional()
    .describe("How long history is kept, for watches that continue. Default 1."),
  historyBytes: z.int().positive().optional().describe("How many bytes of history are kept. Default 1 GiB."),
  retentionHours: z
    .number()
    .min(0)
    .max(hoursMax)
    .optional()
    .describe("How long ended tasks are kept after their end. Default 24."),
  limits: limitsSchema
    .optional()
    .describe("What clients, tasks and controllers may take; docs/operating.md has them all."),
  controllers: z.array(controllerSchema).max(1_000).optional().describe("The controllers that the server hosts."),
});

/**
 * What of a file does not go together: two controllers of one name, and one that would run more tasks than it may have. Not in
 * the schema, which looks for that only where all else is right.
 */
export function findConflicts(file: unknown): Conflict[] {
  const { controllers, limits } = looseSchema.parse(file);
  const max = limits.activeMax ?? defaultLimits.activeMax;
  const names = controllers.map(({ name }) => name);
  return controllers.flatMap(({ name, concurrency = 1 }, index) => {
    const conflicts: Conflict[] = [];
    const path = (key: string): ConfigPath => ["controllers", index, key];
    if (name !== undefined && names.indexOf(name) < index)
      conflicts.push({ path: path("name"), message: "another controller has this name" });
    if (concurrency > max)
      conflicts.push({ path: path("concurrency"), message: `must be at most ${max}, which is limits.activeMax` });
    return conflicts;
  });
}

/** Takes anything for a file, and leaves out what is wrong with it. */
const { name, concurrency } = controllerSchema.shape;
const looseController = z.object({ name: name.optional().catch(undefined), concurrency: concurrency.catch(undefined) });
const looseLimits = z.object({ activeMax: limitsSchema.shape.activeMax.catch(undefined) });
const looseSchema = z
  .object({
    controllers: z.array(looseController.catch({})).catch([]),
    limits: looseLimits.catch({}),
  })
  .catch({ controllers: [], limits: {} });

/** What of a file is right, key by key, and controller by controller with its place in the list. */
export function soundParts(file: unknown): { config: Config; places: number[] } {
  const given = z.record(z.string(), z.unknown()).catch({}).parse(file);
  const sound: Record<string, unknown> = {};
  for (const [key, schema] of Object.entries(configSchema.shape)) {
    const parsed = (schema as z.ZodType).safeParse(given[key]);
    if (key !== "controllers" && parsed.success && parsed.data !== undefined) sound[key] = parsed.data;
  }
  const list: unknown = given["controllers"];
  if (!Array.isArray(list)) return { config: sound, places: [] };
  const controllers = list.map((each) => controllerSchema.safeParse(each).data);
  const places = [...controllers.keys()].filter((index) => controllers[index] !== undefined);
  sound["controllers"] = places.map((index) => controllers[index]);
  return { config: sound, places };
}

/** What stands in a file, with its paths made absolute. */
export type Config = z.infer<typeof configSchema>;
export type ControllerConfig = z.infer<typeof controllerSchema>;
export type RunnerConfig = ControllerConfig["runner"];

/** The schema of the file as JSON Schema, for editors: draft 7, which all of them read. What only the program can check is not in it. */
export function configJsonSchema(): object {
  return { title: "The configuration of stint serve", ...z.toJSONSchema(configSchema, { target: "draft-7" }) };
}
