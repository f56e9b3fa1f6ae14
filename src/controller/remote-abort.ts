/** What a remote runner is told when it is to stop: sent again and again until it is answered. */
import type { AbortReason as WireReason } from "#gen/stint/v1/runner_pb.js";
import type { AbortKind } from "../task/abort.ts";
import { abortReasons } from "./remote-words.ts";

export class RemoteAbort {
  readonly kind: AbortKind;
  readonly #send: (kind: AbortKind) => void;
  readonly #everyMs: number;
  #sentMs: number;
  #isAnswered = false;
  readonly #told: Promise<void>;
  #tell: () => void = () => {};

  /** Sends it, and again whenever `everyMs` have passed at a tick. */
  constructor(kind: AbortKind, options: { nowMs: number; everyMs: number; send: (kind: AbortKind) => void }) {
    this.kind = kind;
    this.#send = options.send;
    this.#everyMs = options.everyMs;
    this.#sentMs = options.nowMs;
    this.#told = new Promise((resolve) => (this.#tell = resolve));
    this.#send(kind);
  }

  /** Resolves when it was answered. */
  get told(): Promise<void> {
    return this.#told;
  }

  /** Answered by its runner. The answer to one that was outranked meanwhile says nothing of this one. */
  answeredWith(reason: WireReason): void {
    if (reason === abortReasons[this.kind]) this.answered();
  }

  /** Nothing is waited for any more. */
  answered(): void {
    this.#isAnswered = true;
    this.#tell();
  }

  /** On a new stream: the old one may have lost it. */
  sendAgain(nowMs: number): void {
    if (this.#isAnswered) return;
    this.#sentMs = nowMs;
    this.#send(this.kind);
  }

  tick(nowMs: number): void {
    if (nowMs - this.#sentMs >= this.#everyMs) this.sendAgain(nowMs);
  }
}
