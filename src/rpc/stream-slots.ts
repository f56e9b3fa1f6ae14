import { limitError } from "./errors.ts";

/** How many calls may stream answers at one time, of all services and controllers together: such a call may last for ever. */
export interface StreamSlots {
  /** Takes a slot; the returned function gives it back, once. Throws RESOURCE_EXHAUSTED where all are taken. */
  take(): () => void;
}

export function createStreamSlots(max: number): StreamSlots {
  let taken = 0;
  return {
    take() {
      if (taken >= max) {
        throw limitError("watchers_max", max, `${max} streams are open already, which is the limit`, 5_000);
      }
      taken += 1;
      let held = true;
      return () => {
        if (held) taken -= 1;
        held = false;
      };
    },
  };
}
