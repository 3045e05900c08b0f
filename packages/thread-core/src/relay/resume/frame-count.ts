/** When either side acknowledges: after this number of frames, of bytes, or of milliseconds. */
export const ACK_POLICY = { frames: 32, bytes: 65_536, ms: 1000 } as const;

/** Counts a client's frames, and decides when they are acknowledged. */
export class FrameCount {
  got = 0;
  #frames = 0;
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #acknowledge: () => void;

  constructor(acknowledge: () => void) {
    this.#acknowledge = acknowledge;
  }

  add(bytes: number): void {
    this.got += 1;
    this.#frames += 1;
    this.#bytes += bytes;
    if (this.#frames >= ACK_POLICY.frames || this.#bytes >= ACK_POLICY.bytes) this.#acknowledge();
    else this.#timer ??= setTimeout(this.#acknowledge, ACK_POLICY.ms).unref();
  }

  /** The count was acknowledged, or there is no connection for an acknowledgement. */
  reset(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#frames = 0;
    this.#bytes = 0;
  }
}
