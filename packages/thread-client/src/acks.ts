import type { AckPolicy } from '@arc/thread-protocol';

const REPEAT_MS = 10_000;

/** Decides when the relay is told which of its frames have arrived. */
export class Acks {
  /** From `ready`. */
  policy!: AckPolicy;
  readonly #send: (seq: number) => void;
  readonly #isHeld: () => boolean;
  #seq = 0;
  #acknowledged = 0;
  #size = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** While `isHeld` says so, the last acknowledgement is repeated in place of new ones. */
  constructor(send: (seq: number) => void, isHeld: () => boolean) {
    this.#send = send;
    this.#isHeld = isHeld;
  }

  received(seq: number, size: number): void {
    this.#seq = seq;
    this.#size += size;
    this.look();
  }

  /** A connection is established, on which everything up to `seq` is acknowledged already. */
  start(seq: number): void {
    this.#seq = seq;
    this.#acknowledged = seq;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#size = 0;
  }

  /** Acknowledges what is due. To be called, too, when what `isHeld` says has changed. */
  look(isTime = false): void {
    const due = this.#seq - this.#acknowledged;
    if (due === 0) return;
    const { frames, bytes, ms } = this.policy;
    const isHeld = this.#isHeld();
    if (!isHeld && (isTime || due >= frames || this.#size >= bytes)) {
      this.stop();
      this.#acknowledged = this.#seq;
      this.#send(this.#seq);
    } else if (this.#timer === undefined) {
      this.#timer = setTimeout(
        () => {
          this.#timer = undefined;
          if (this.#isHeld()) this.#send(this.#acknowledged);
          this.look(true);
        },
        isHeld ? REPEAT_MS : ms,
      );
    }
  }
}
