/** Delays between attempts to connect: random up to a bound that doubles ("full jitter"), so that clients spread out. */
export class Backoff {
  readonly #min: number;
  readonly #max: number;
  #failures = 0;

  constructor({ min = 500, max = 30_000 }: { min?: number; max?: number } = {}) {
    this.#min = min;
    this.#max = max;
  }

  /** Milliseconds until the next attempt. */
  next(): number {
    const bound = Math.min(this.#max, this.#min * 2 ** this.#failures);
    this.#failures += 1;
    return Math.random() * bound;
  }

  reset(): void {
    this.#failures = 0;
  }
}
