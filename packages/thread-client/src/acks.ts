import type { AckPolicy } from '@arc/thread-protocol';

const REPEAT_MS = 10_000;

export interface AckHost {
  acknowledge(seq: number): void;
  /** While it is true, the last acknowledgement is repeated in place of new ones. */
  isFull(): boolean;
}

/** Decides when the relay's frames are acknowledged. */
export class Acks {
  /** From `ready`. */
  declare policy: AckPolicy;
  readonly #host: AckHost;
  #seq = 0;
  #acknowledged = 0;
  #size = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(host: AckHost) {
    this.#host = host;
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

  /** Acknowledges what is due. To be called, too, when what `isFull` says has changed. */
  look(isTime?: boolean): void {
    const due = this.#seq - this.#acknowledged;
    if (!due) return;
    const { frames, bytes, ms } = this.policy;
    const isHeld = this.#host.isFull();
    if (!isHeld && (isTime || due >= frames || this.#size >= bytes)) {
      this.stop();
      this.#acknowledged = this.#seq;
      this.#host.acknowledge(this.#seq);
    } else if (!this.#timer) {
      this.#timer = setTimeout(
        () => {
          this.#timer = undefined;
          if (this.#host.isFull()) this.#host.acknowledge(this.#acknowledged);
          this.look(true);
        },
        isHeld ? REPEAT_MS : ms,
      );
    }
  }
}
