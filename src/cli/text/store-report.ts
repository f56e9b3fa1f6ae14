/** What the tools for a store have found, as text. */
import type { RepairReport, VerifyReport } from "../../store/store-report.ts";
import { escapeText } from "./escape.ts";

const shownMax = 20;

/** What is in a store, and what is wrong with it. */
export function renderVerified(path: string, report: VerifyReport): string {
  const verdict = report.isSound
    ? "sound"
    : report.opens
      ? "opens, with damaged records"
      : "DAMAGED: no server opens it";
  return lines([
    `${report.kind} ${escapeText(path)}: ${verdict}`,
    ...renderContent(report),
    ...list("refused because", report.refusals),
    ...list(
      "damaged files",
      report.damagedFiles.map(({ file, reason, range }) => {
        return `db/${file} ${reason}${range ? ` (bytes ${range.start} to ${range.end})` : ""}`;
      }),
    ),
    ...list("damaged tasks", report.damagedTasks.map(describeTask)),
    ...list(
      "damaged records",
      report.damagedEntries.map(({ key, revision, reason }) => {
        return `${key === undefined ? "" : `${JSON.stringify(key)} `}at revision ${revision}: ${reason}`;
      }),
      report.damagedEntryCount,
    ),
  ]);
}

/** What a repair has made, and what is lost. */
export function renderRepaired(from: string, to: string, report: RepairReport): string {
  const how = report.how === "copied" ? "what can be read was copied, history included" : "rebuilt without its history";
  const verdict = report.isComplete ? "nothing is lost, as far as can be told" : "SOMETHING IS LOST";
  return lines([
    `repaired ${escapeText(from)} to ${escapeText(to)}: ${how}; ${verdict}`,
    ...renderContent(report.made),
    ...list(
      "damaged files of the old store",
      report.damagedFiles.map(({ file, reason }) => `db/${file} ${reason}`),
    ),
    ...list("tasks that are damaged now, and read as DATA_LOSS", lostOf(report, false)),
    ...list("tasks that are read without what is lost of them", lostOf(report, true)),
    ...list(
      "tasks that a server will run: they have not ended, unless their end is what is lost",
      report.unendedTasks.map(({ controller, taskId }) => `${controller}/${taskId}`),
    ),
    ...list("lost", report.losses),
    ...(report.quarantined > 0 ? [`  ${report.quarantined} pieces are kept in quarantine/, with list.json`] : []),
  ]);
}

/** What is in a store, for those who compare two. */
export function renderContent(report: VerifyReport): string[] {
  const { revision, firstRevision, tasks, keys, indexEntries, counters, journalBlocks } = report;
  return [
    `  revision  ${revision}, history from ${firstRevision}`,
    `  content   ${tasks} tasks, ${keys} keys, ${indexEntries} index entries, ${counters} counters, ${journalBlocks} journal blocks`,
    `  state     sha256:${report.stateHash}`,
  ];
}

function lostOf({ damagedTasks }: RepairReport, areIncomplete: boolean): string[] {
  return damagedTasks.filter(({ state }) => (state === "incomplete") === areIncomplete).map(describeTask);
}

function describeTask({ controller, taskId, reason }: VerifyReport["damagedTasks"][number]): string {
  return `${controller}/${taskId}: ${reason}`;
}

function list(title: string, items: readonly string[], count = items.length): string[] {
  if (items.length === 0) return [];
  const rest = count - Math.min(items.length, shownMax);
  const more = rest > 0 ? [`    and ${rest} more (-o json lists them)`] : [];
  return [`  ${title}:`, ...items.slice(0, shownMax).map((item) => `    - ${escapeText(item)}`), ...more];
}

function lines(all: readonly string[]): string {
  return `${all.join("\n")}\n`;
}
