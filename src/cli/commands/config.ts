import { CliError } from "../cli-error.ts";
import { addExample, type Cli, type ClientOptions, outputOption } from "../client-command.ts";
import { exitCode } from "../exit-code.ts";
import type { Io } from "../io.ts";
import { resolveSettings } from "../serve-settings.ts";
import { escapeJson, escapeText } from "../text/escape.ts";

/** stint config check: says what is wrong with a configuration. */
export function addConfigCommand({ program, io, exitWith }: Cli): void {
  const config = program
    .command("config")
    .summary("check a configuration")
    .description("Looks at the configuration of a server.")
    .helpCommand(false);
  const check = config
    .command("check")
    .summary("say what is wrong with a configuration")
    .description(
      "Checks all of a configuration as stint serve would find it, without starting: every key, the certificate, that modules " +
        "with runners can be loaded (their code runs for that) and that commands are there. Says file, line and key of what is wrong. " +
        "The exit status is 0 where nothing is, else 2.",
    )
    .argument("[file]", "the configuration, in YAML (default: STINT_CONFIG in the environment)")
    .addOption(outputOption());
  addExample(check, "stint config check examples/stint.yaml");
  check.action(async (file: string | undefined, { output }: Pick<ClientOptions, "output">) => {
    exitWith(await checkFile(io, file, output));
  });
  addExample(config, "stint config check examples/stint.yaml");
}

async function checkFile(io: Io, argument: string | undefined, output: ClientOptions["output"]): Promise<number> {
  const file = argument ?? io.env.STINT_CONFIG;
  if (!file) {
    throw new CliError("there is no configuration to check", {
      exitCode: exitCode.usage,
      hints: ["name one: stint config check FILE, or STINT_CONFIG in the environment"],
    });
  }
  // Loaded here and not above: the other commands start faster without the server.
  const [{ checkConfig }, errors] = await Promise.all([
    import("../../server/check-config.ts"),
    import("../start-failure.ts"),
  ]);
  const { env } = io;
  const { problems, controllers } = await checkConfig(file, {
    env,
    override: (config) => resolveSettings({}, env, config),
  }).catch((error: unknown) => {
    throw errors.explainStartFailure(error);
  });
  const valid = problems.length === 0;
  if (output === "json") {
    io.stdout.write(escapeJson(JSON.stringify({ file, valid, controllers, problems })));
    return valid ? exitCode.success : exitCode.usage;
  }
  if (!valid) throw errors.explainMistakes(file, problems);
  const names = controllers.length === 0 ? "" : `: ${controllers.join(", ")}`;
  const noun = controllers.length === 1 ? "controller" : "controllers";
  io.stdout.write(`${escapeText(file)} is good, with ${controllers.length} ${noun}${names}\n`);
  return exitCode.success;
}
