/** The system calls of a process and its threads, in their order, as strace writes them down (-f -yy -xx, see straceArgs). */

export interface SystemCall {
  readonly name: string;
  /** The file or the connection that its first argument stands for. */
  readonly on: string;
  /** What it was given to write. */
  readonly bytes: Buffer;
  /** The line at which it was begun. */
  readonly begun: number;
  /** The line at which it had returned; Infinity if it never did. */
  returned: number;
  /** What it returned; undefined while it has not. */
  result: number | undefined;
}

/** In front of a program: it is traced, and stays the process that was started (-D). */
export function straceArgs(file: string, names: readonly string[]): string[] {
  return ["strace", "-D", "-f", "-yy", "-xx", "-s", String(16 << 20), "-e", `trace=${names.join()}`, "-o", file];
}

/** Whether it is written to its end. */
export function isWhole(text: string): boolean {
  const threads = new Set(text.match(/^\d+/gm));
  return threads.size > 0 && (text.match(/^\d+ +\+\+\+ (exited|killed) .*\+\+\+$/gm) ?? []).length === threads.size;
}

export function parseSystemCalls(text: string): SystemCall[] {
  const calls: SystemCall[] = [];
  const underWay = new Map<string, SystemCall>();
  for (const [line, content] of text.split("\n").entries()) {
    const [, thread = "", rest = ""] = /^(\d+) +(.*)$/.exec(content) ?? [];
    const result = Number(/ = (-?\d+)/.exec(rest.slice(rest.lastIndexOf(")")))?.[1] ?? Number.NaN);
    if (rest.startsWith("<... ")) {
      const call = underWay.get(thread);
      if (call !== undefined) Object.assign(call, { returned: line, result });
      underWay.delete(thread);
      continue;
    }
    const [, name, on = ""] = /^(\w+)\(\d+(?:<((?:[^>]|->)*)>)?/.exec(rest) ?? [];
    if (name === undefined) continue;
    const bytes = Buffer.concat(Array.from(rest.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g), ([, hex = ""]) => unescape(hex)));
    const isUnderWay = rest.endsWith("<unfinished ...>");
    const end = isUnderWay ? { returned: Infinity, result: undefined } : { returned: line, result };
    const call: SystemCall = { name, on: decodeName(on), bytes, begun: line, ...end };
    calls.push(call);
    if (isUnderWay) underWay.set(thread, call);
  }
  return calls;
}

function unescape(hex: string): Buffer {
  return Buffer.from(hex.replaceAll("\\x", ""), "hex");
}

function decodeName(name: string): string {
  return name.replaceAll(/(?:\\x[0-9a-f]{2})+/g, (hex) => unescape(hex).toString());
}
