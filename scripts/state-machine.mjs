import { tsImport } from "tsx/esm/api";

/** The text of docs/state-machine.md, from the tables that the code itself runs on. */
export async function renderStateMachine() {
  const { transitionTable, allStates, stateName } = await load("state");
  const { relaunchTable } = await load("relaunch");
  const { abortTable } = await load("abort");
  return `<!-- Made by \`npm run generate\` from src/task/state.ts, abort.ts and relaunch.ts. Edit those. -->

# The task state machine

A task is in one of six states. A run begins with a launch, Pending, and ends Completed, Failed or Canceled; a run that has
ended never runs again, and a new launch is a new run.

## Transitions

What is not in this table does not happen (src/task/state.ts). The state and its transition are one commit, on disk
before anyone is shown it.

${table(["from", "trigger", "when", "to"], transitionTable.map(transitionRow))}

\`\`\`mermaid
stateDiagram-v2
${diagramLines(transitionTable, stateName).join("\n")}
\`\`\`

Launch leads to Pending from every state; the diagram shows it as the beginning.

## When a signal was aborted

Why a runner's signal was aborted decides what its outcome means (src/task/abort.ts). An *abort throw* is the signal's reason,
an error whose chain of causes ends in it, or an error named AbortError. *Lost*: a remote runner is not there any more, or gave the task up.

${table(["reason", "returned", "abort throw", "other throw", "lost"], Object.entries(abortTable).map(abortRow))}

*Left*: nothing is written, and the task is resumed when the controller is next opened. *Discarded*: nothing that this run
does counts any more. *Resumed*: Resume, at once. A remote runner that goes on while its controller closes is left, whatever it was told: the
next opening takes its run up where it is.

## What a new run keeps

By the state the task is in at the new run's first commit (src/task/relaunch.ts). Every new run has a run id of its own, attempt 1, and
the labels and owner of its launch; it has no error, result or cancel; create_time stays and log entries go on counting.

${table(["previous state", "progress", "metadata", "logs", "transitions"], relaunchRows())}
`;

  function transitionRow(rule) {
    const from = rule.from.length === allStates.length ? "any" : rule.from.map(stateName).join(", ");
    return [from, rule.trigger, rule.when, stateName(rule.to)];
  }

  function relaunchRows() {
    return allStates.map((state) => {
      const rule = relaunchTable[state];
      return [stateName(state), rule.progress, rule.metadata, rule.logs, rule.transitions];
    });
  }
}

// Both are words of the code; here they are sentences' words.
const verdicts = {
  start: "Running",
  complete: "Completed",
  cancel: "Canceled",
  fail: "Failed",
  "fail-timeout": "Failed, DEADLINE_EXCEEDED",
  resume: "resumed",
  leave: "left",
  discard: "discarded",
};

function abortRow([kind, row]) {
  return [
    kind === "none" ? "not aborted" : kind,
    ...["returned", "aborted", "threw", "lost"].map((outcome) => verdicts[row[outcome]]),
  ];
}

function diagramLines(transitionTable, stateName) {
  const launched = transitionTable.find((rule) => rule.trigger === "Launch");
  const lines = [`    [*] --> ${stateName(launched.to)}: Launch`];
  for (const rule of transitionTable) {
    if (rule === launched) continue;
    for (const from of rule.from) lines.push(`    ${stateName(from)} --> ${stateName(rule.to)}: ${rule.trigger}`);
  }
  const left = new Set(transitionTable.flatMap((rule) => (rule === launched ? [] : rule.from)));
  const ends = new Set(transitionTable.map((rule) => rule.to).filter((state) => !left.has(state)));
  for (const state of ends) lines.push(`    ${stateName(state)} --> [*]`);
  return lines;
}

function table(head, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

function load(name) {
  return tsImport(`../src/task/${name}.ts`, import.meta.url);
}
