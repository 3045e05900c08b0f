/** A token bucket: it holds `rate` tokens at most, and as many flow in each second. */
export class TokenBucket {
  readonly #rate: number;
  #used = 0;
  /** When `#used` was computed, by the monotonic clock. */
  #at = 0;

  constructor(rate: number) {
    this.#rate = rate;
  }

  /** Takes a token. False if there is none. */
  take(): boolean {
    const now = performance.now();
    this.#used = Math.max(0, this.#used - ((now - this.#at) * this.#rate) / 1000);
    this.#at = now;
    if (this.#used + 1 > this.#rate) return false;
    this.#used += 1;
    return true;
  }
}
