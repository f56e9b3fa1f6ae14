import type { RunnerKind } from "#gen/stint/v1/controller_pb.js";
import { ControllerError } from "../controller/error.ts";
import type { RemoteRunners } from "../controller/remote-link.ts";
import type { ServedLaunches } from "../controller/served-launches.ts";

/** A controller as the service shows it. */
export interface ServedController {
  readonly controller: ServedLaunches;
  readonly runnerKind: RunnerKind;
  /** How many runners are connected just now; 1 for one that the server hosts. */
  readonly runnersConnected: () => number;
  /** Who runs its tasks, where those are programs that connect. */
  readonly runners?: RemoteRunners | undefined;
}

/** The controllers that the service serves. */
export interface ControllerRegistry {
  get(name: string): ServedController | undefined;
  /** All of them, by name. */
  list(): readonly ServedController[];
}

const namesShown = 20;

/** The controller of that name. Throws NOT_FOUND that names those there are. */
export function findController(registry: ControllerRegistry, name: string): ServedLaunches {
  const found = registry.get(name);
  if (found !== undefined) return found.controller;
  const names = registry.list().map((each) => each.controller.name);
  const shown = names.slice(0, namesShown).join(", ") + (names.length > namesShown ? ", ..." : "");
  const known = names.length === 0 ? "there are none" : `there are: ${shown}`;
  throw new ControllerError("NOT_FOUND", `there is no controller "${name}"; ${known}`, {
    resource: { type: "controller", name },
  });
}

/** The one that whoever opens controllers keeps. */
export interface MutableRegistry extends ControllerRegistry {
  add(served: ServedController): void;
  remove(name: string): void;
}

/** A registry that begins with those of `served`. */
export function createRegistry(served: readonly ServedController[] = []): MutableRegistry {
  const byName = new Map(served.map((each) => [each.controller.name, each]));
  return {
    get: (name) => byName.get(name),
    list: () => [...byName.values()].sort((a, b) => (a.controller.name < b.controller.name ? -1 : 1)),
    add: (each) => byName.set(each.controller.name, each),
    remove: (name) => byName.delete(name),
  };
}
