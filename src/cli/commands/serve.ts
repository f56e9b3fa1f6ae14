import { onAbort } from "../../async/signals.ts";
import { sleep } from "../../clock.ts";
import { Faults } from "../../faults.ts";
import type { CheckConfigOptions, ConfigProblem, Overridden } from "../../server/check-config.ts";
import type { Config } from "../../server/config.ts";
import { ServerError } from "../../server/error.ts";
import type { RunningServer } from "../../server/start-server.ts";
import { defaultServer } from "../arguments.ts";
import { CliError } from "../cli-error.ts";
import { addExample, type Cli } from "../client-command.ts";
import { exitCode } from "../exit-code.ts";
import type { Io } from "../io.ts";
import { createProcessLog } from "../process-log.ts";
import { resolveSettings, type ServeSettings, settingOptions } from "../serve-settings.ts";
import { type BannerController, renderBanner } from "../text/banner.ts";
import { version } from "../version.ts";

/** The longest that stopping takes, from the first signal on. */
const stopMaxMs = 9_000;

interface ServeOptions extends ServeSettings {
  readonly config?: string;
  readonly banner: boolean;
}

/** stint serve: runs the server until it is asked to stop. */
export function addServeCommand({ program, io, exitWith }: Cli): void {
  const command = program
    .command("serve")
    .summary("run the server")
    .description(
      "Runs the server until SIGTERM or SIGINT, which let it finish what is under way, for 10 seconds at most; a second one " +
        "ends it at once. Nothing that was acknowledged is lost either way. A flag wins over the environment, which wins over the file.",
    )
    .option("-c, --config <file>", "the configuration, in YAML [STINT_CONFIG]");
  for (const option of settingOptions()) command.addOption(option);
  command.option("--no-banner", "do not show on stderr what to paste next");
  addExample(command, "stint serve --config examples/stint.yaml --listen 127.0.0.1:7846 --data-dir ./stint-data");
  command.action(async (options: ServeOptions) => {
    exitWith(await serve(io, options));
  });
}

async function serve(io: Io, options: ServeOptions): Promise<number> {
  // Loaded here and not above: the other commands start faster without the server.
  const [{ startServer }, { exampleMetadata }, { createStrayErrors }, { loadConfig }, errors] = await Promise.all([
    import("../../server/start-server.ts"),
    import("../../server/example-metadata.ts"),
    import("../../server/stray-errors.ts"),
    import("../../server/load-config.ts"),
    import("../start-failure.ts"),
  ]);
  let server: RunningServer;
  let controllers: readonly BannerController[] = [];
  const file = options.config || io.env.STINT_CONFIG || undefined;
  const override = (config: Config): Overridden => resolveSettings(options, io.env, config);
  try {
    const { config, problems } = override(file ? await loadConfig(file) : {});
    if (problems.length > 0)
      throw new ServerError("CONFIG", problems.map(({ source, text }) => `${source} ${text}`).join("\n"));
    const log = createProcessLog(io, config.logLevel);
    const { pid, env, clock, random } = io;
    controllers = (config.controllers ?? []).map(({ name, runner }) => ({ name, metadata: exampleMetadata(runner) }));
    const faults = new Faults({ clock, log });
    const strays = createStrayErrors(faults, log);
    io.onUncaught((event, error) => {
      if (event === "unhandledRejection") strays.rejected(error);
      else strays.thrown(error);
      return event === "unhandledRejection";
    });
    const starting = startServer({ ...config, version, log, faults, pid, env, clock, random });
    server = await Promise.race([starting, overdueStop(io)]);
  } catch (error) {
    const mistakes = await findMistakes(file, { env: io.env, override }, error);
    throw mistakes.length > 0 ? errors.explainMistakes(file, mistakes) : errors.explainStartFailure(error);
  }
  if (options.banner) {
    const { address, store, tls } = server;
    const lines = renderBanner({ version, address, controllers, store, tls, program: io.program, defaultServer });
    io.stderr.write(`${lines.join("\n")}\n`);
  }
  await aborted(io.signal);
  if (io.stderr.isTerminal) io.stderr.write("Stopping, with what is under way finished; once more stops at once.\n");
  await server.close();
  return exitCode.success;
}

/** A start ends with the first mistake in the configuration; whoever has made it is told of all, as config check does. */
async function findMistakes(
  file: string | undefined,
  options: CheckConfigOptions,
  error: unknown,
): Promise<readonly ConfigProblem[]> {
  if (!(error instanceof ServerError && ["CONFIG", "OPTION", "RUNNER"].includes(error.code))) return [];
  const { checkConfig } = await import("../../server/check-config.ts");
  // A file that cannot be read is what the error says already.
  const { problems } = await checkConfig(file, options).catch(() => ({ problems: [] }));
  return problems;
}

/** Rejects when the server was asked to stop and is still starting, for so long that nothing is waited for any more. */
async function overdueStop(io: Io): Promise<never> {
  await aborted(io.signal);
  await sleep(io.clock, stopMaxMs);
  throw new CliError("stopped before it was up");
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => void onAbort(signal, resolve));
}
