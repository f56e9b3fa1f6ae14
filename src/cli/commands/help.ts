import type { Command } from "commander";
import { addExample, type Cli } from "../client-command.ts";

/** stint help: shows how a command is used. It comes after all others, which it knows then. */
export function addHelpCommand({ program }: Cli): void {
  const help = program
    .command("help")
    .summary("show how a command is used")
    .description("Shows all commands, or how one of them is used, with an example.")
    .argument("[command...]", "the command, such as launch, or config check");
  addExample(help, "stint help launch");
  const names = program
    .createHelp()
    .visibleCommands(program)
    .map((each) => each.name());
  // For this command alone: those that are there already have taken over what the program had.
  program.showHelpAfterError(`(the commands are ${names.join(", ")}; --help shows what they do)`);
  help.action((words: readonly string[]) => {
    let command: Command = program;
    for (const word of words) {
      const next = command.commands.find((each) => each.name() === word);
      if (next === undefined) {
        command.error(`error: unknown command '${words.join(" ")}'`, { code: "commander.unknownCommand" });
      }
      command = next;
    }
    command.help();
  });
}
