/** grpc.health.v1: whether this server takes calls just now, as https://github.com/grpc/grpc/blob/master/doc/health-checking.md asks. */
import { Code, ConnectError } from "@connectrpc/connect";
import type { Health, HealthCheckRequest } from "#gen/grpc/health/v1/health_pb.js";
import { HealthCheckResponse_ServingStatus as ServingStatus } from "#gen/grpc/health/v1/health_pb.js";
import { checkText } from "../task/ids.ts";
import { quoteInput } from "../task/quote-input.ts";
import { serverStreamCall } from "./answer-stream.ts";
import { drainingError } from "./availability.ts";
import { type CallPolicy, type Implementation, raceSignal, unaryCall } from "./call.ts";

const nameMaxBytes = 256;

/** `services` are the names that are known beside "", which is the server as a whole. */
export function createHealthService(policy: CallPolicy, services: readonly string[]): Implementation<typeof Health> {
  const { availability } = policy;
  const known: ReadonlySet<string> = new Set(["", ...services]);

  function status(): ServingStatus {
    return availability.serving ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
  }

  /** The status at once, then each change of it. When the server drains, NOT_SERVING is the last. */
  async function* watch(request: HealthCheckRequest, signal: AbortSignal): AsyncGenerator<{ status: ServingStatus }> {
    // A service that is not known stays so: what is served is fixed when the server starts.
    const current = (): ServingStatus => (known.has(request.service) ? status() : ServingStatus.SERVICE_UNKNOWN);
    let wake = (): void => {};
    const offChange = availability.onChange(() => wake());
    try {
      let sent: ServingStatus | undefined;
      for (;;) {
        const now = current();
        if (now !== sent) {
          sent = now;
          yield { status: now };
          continue;
        }
        if (availability.draining) throw drainingError();
        const change = new Promise<void>((resolve) => {
          wake = resolve;
        });
        await raceSignal(change, signal);
      }
    } finally {
      offChange();
    }
  }

  return {
    check: unaryCall(
      policy,
      async (request) => {
        checkName(request.service);
        if (known.has(request.service)) return { status: status() };
        throw new ConnectError(`there is no service ${quoteInput(request.service)} here`, Code.NotFound);
      },
      { always: true },
    ),
    list: unaryCall(
      policy,
      async () => ({ statuses: Object.fromEntries([...known].map((name) => [name, { status: status() }])) }),
      { always: true },
    ),
    watch: serverStreamCall(
      policy,
      (request: HealthCheckRequest, call) => {
        checkName(request.service);
        return { answers: watch(request, call.signal) };
      },
      { always: true },
    ),
  };
}

function checkName(name: string): void {
  const complaint = checkText(name, nameMaxBytes);
  if (complaint !== undefined) throw new ConnectError(`service: ${complaint}`, Code.InvalidArgument);
}
