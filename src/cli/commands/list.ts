import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Option } from "commander";
import type { TaskState } from "#gen/core/v1/core_pb.js";
import { type ListedTask, ListedTaskSchema, TaskControllerService, TaskOrder } from "#gen/stint/v1/controller_pb.js";
import { collectLabel, stateOption, createCountParser } from "../arguments.ts";
import type { RpcClient } from "../client.ts";
import { addClientOptions, addExample, type Cli, type ClientOptions, withClient } from "../client-command.ts";
import { exitCode } from "../exit-code.ts";
import type { Io } from "../io.ts";
import { escapeText } from "../text/escape.ts";
import { formatAge, formatAmount, formatPercent, fractionOf } from "../text/format.ts";
import { columnWidths, renderTable } from "../text/table.ts";
import { outcomeText, stateName } from "../text/task-text.ts";
import { writeJson } from "../write-json.ts";

const pageMax = 1000;
const header = ["TASK", "STATE", "PROGRESS", "CHANGED", "NOTE"];

interface ListOptions extends ClientOptions {
  readonly state?: TaskState[];
  readonly label?: Record<string, string>;
  readonly prefix?: string;
  readonly newest?: boolean;
  readonly limit?: number;
  readonly all?: boolean;
}

/** stint list: shows the tasks of a controller. */
export function addListCommand({ program, io, exitWith }: Cli): void {
  const command = program
    .command("list")
    .summary("list the tasks of a controller")
    .description("Lists the tasks of a controller, by id. JSON is an object a line.")
    .argument("<controller>", "the controller")
    .addOption(stateOption())
    .option("-l, --label <key=value>", "only tasks with this label; may be repeated", collectLabel)
    .option("-p, --prefix <text>", "only tasks whose id begins so")
    .option("--newest", "the task that was created last comes first")
    .option("-n, --limit <count>", "at most so many (default: 100)", createCountParser(1, 1_000_000_000))
    .addOption(new Option("-a, --all", "all of them").conflicts("limit"));
  addExample(
    addClientOptions(command),
    "stint list countdown --state running --label team=data",
    "stint list countdown --all -o json | jq -r .taskId",
  );
  command.action(async (controller: string, options: ListOptions) => {
    exitWith(
      await withClient(io, { ...options, controller }, (client) => list(io, client, { ...options, controller })),
    );
  });
}

async function list(io: Io, client: RpcClient, options: ListOptions & { controller: string }): Promise<number> {
  const { output } = options;
  let left = options.all ? Number.POSITIVE_INFINITY : (options.limit ?? 100);
  let pageToken = "";
  let widths: number[] | undefined;
  let total: bigint | undefined;
  do {
    const page = await client.call(TaskControllerService.method.listTasks, requestOf(options, left, pageToken), {
      signal: io.signal,
    });
    if (output === "json") for (const task of page.tasks) writeJson(io, ListedTaskSchema, task);
    else if (page.tasks.length > 0) widths = printPage(io, page.tasks, widths);
    await io.stdout.drained();
    left -= page.tasks.length;
    total ??= page.totalSize;
    pageToken = page.nextPageToken;
  } while (pageToken !== "" && left > 0);
  if (output === "text" && widths === undefined) io.stderr.write("There are no such tasks.\n");
  if (pageToken !== "") {
    io.stderr.write(
      `There are more${total === undefined ? "" : ` (${total} in all)`}: --limit COUNT or --all shows them.\n`,
    );
  }
  return exitCode.success;
}

function requestOf(options: ListOptions & { controller: string }, left: number, pageToken: string) {
  return {
    controller: options.controller,
    pageSize: Math.min(left, pageMax),
    pageToken,
    states: options.state ?? [],
    labels: options.label ?? {},
    idPrefix: options.prefix ?? "",
    orderBy: options.newest ? TaskOrder.NEWEST : TaskOrder.ID,
  };
}

/** Prints a page, and the header before the first; returns the widths for the next. */
function printPage(io: Io, tasks: readonly ListedTask[], before: readonly number[] | undefined): number[] {
  const rows = tasks.map((task) => rowOf(task, io.clock.wall()));
  if (!before) rows.unshift(header);
  const widths = columnWidths(rows, before);
  const columns = io.stdout.isTerminal ? io.stdout.columns() : undefined;
  io.stdout.write(`${renderTable(rows, { widths, columns }).join("\n")}\n`);
  return widths;
}

function rowOf({ taskId, status }: ListedTask, nowMs: number): string[] {
  if (!status) return [escapeText(taskId), "-", "", "", ""];
  const { progress, updateTime } = status;
  const fraction = progress && fractionOf(progress);
  const amount = progress && (progress.current > 0n || progress.total > 0n) ? formatAmount(progress) : "";
  return [
    escapeText(taskId),
    stateName(status.state) + (status.attempt > 1 ? ` (attempt ${status.attempt})` : ""),
    fraction === undefined ? amount : `${amount} (${formatPercent(fraction)})`,
    updateTime ? formatAge(nowMs - timestampMs(updateTime)) : "",
    outcomeText(status) || escapeText(progress?.message ?? ""),
  ];
}
