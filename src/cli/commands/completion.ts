import { Argument } from "commander";
import { addExample, type Cli } from "../client-command.ts";
import { completeWords } from "../complete.ts";
import { exitCode } from "../exit-code.ts";
import { completionScripts } from "../text/completion-script.ts";

/** stint completion, which prints the script of a shell, and the hidden command that this asks. */
export function addCompletionCommands({ program, io, exitWith }: Cli): void {
  const command = program
    .command("completion")
    .summary("print a script that completes commands in a shell")
    .description(
      "Prints a script that has a shell complete the commands and options of stint, and controllers and tasks, for which the server is asked.",
    )
    .addArgument(new Argument("<shell>", "the shell").choices(Object.keys(completionScripts)));
  addExample(
    command,
    "stint completion bash > ~/.local/share/bash-completion/completions/stint",
    "stint completion zsh > ~/.zfunc/_stint    # with fpath+=~/.zfunc before compinit",
    "stint completion fish > ~/.config/fish/completions/stint.fish",
  );
  command.action((shell: keyof typeof completionScripts) => {
    io.stdout.write(completionScripts[shell]);
    exitWith(exitCode.success);
  });
  program
    .command("__complete", { hidden: true })
    .argument("[words...]")
    .action(async (words: string[]) => {
      for (const candidate of await completeWords(io, program, words)) io.stdout.write(`${candidate}\n`);
      exitWith(exitCode.success);
    });
}
