import type { AckPolicy } from '@arc/thread-protocol';

const REPEAT_MS = 10_000;

/** Decides when the relay is told which of its frames have arrived. */
export class Acks {
  policy: AckPolicy = { frames: 32, bytes: 65_536, ms: 1_000 };
  readonly #send: (seq: number) => void;
  readonly #isHeld: () => boolean;
  #seq = 0;
  #acknowledged = 0;
  #size = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #repeating = false;

  /** While `isHeld` says so, the last acknowledgement is repeated in place of new ones. */
  constructor(send: (seq: number) => void, isHeld: () => boolean) {
    this.#send = send;
    this.#isHeld = isHeld;
  }

  received(seq: number, size: number): void {
    this.#seq = seq;
    this.#size += size;
    this.#judge();
  }

  /** What `isHeld` says may have changed. */
  released(): void {
    if (this.#seq > this.#acknowledged) this.#judge();
  }

  /** A connection is established, on which everything up to `seq` is acknowledged already. */
  start(seq: number): void {
    this.stop();
    this.#seq = seq;
    this.#acknowledged = seq;
    this.#size = 0;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#repeating = false;
  }

  #judge(): void {
    if (this.#isHeld()) {
      if (!this.#repeating) this.#schedule(REPEAT_MS, true);
      return;
    }
    const { frames, bytes, ms } = this.policy;
    if (this.#seq - this.#acknowledged >= frames || this.#size >= bytes || this.#repeating) this.#acknowledge();
    else if (this.#timer === undefined) this.#schedule(ms, false);
  }

  #acknowledge(): void {
    this.stop();
    this.#acknowledged = this.#seq;
    this.#size = 0;
    this.#send(this.#seq);
  }

  #schedule(ms: number, repeating: boolean): void {
    this.stop();
    this.#repeating = repeating;
    this.#timer = setTimeout(() => {
      this.stop();
      if (!this.#isHeld()) {
        this.#acknowledge();
        return;
      }
      this.#send(this.#acknowledged);
      this.#schedule(REPEAT_MS, true);
    }, ms);
  }
}
