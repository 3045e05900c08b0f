/** A moment on both clocks of the process. */
export interface Moment {
  monotonic: number;
  wall: number;
}

/**
 * How old a lease is. The larger age of two clocks counts: the monotonic one stands still while a machine is suspended,
 * and the other one can be set back.
 */
export class LeaseClock {
  #renewed: Moment | undefined;

  now(): Moment {
    return { monotonic: performance.now(), wall: Date.now() };
  }

  /** The lease was renewed by a request of that moment. */
  set(asked: Moment): void {
    this.#renewed = asked;
  }

  /** Milliseconds since the last renewal; infinite before the first. */
  get age(): number {
    if (this.#renewed === undefined) return Number.POSITIVE_INFINITY;
    return Math.max(performance.now() - this.#renewed.monotonic, Date.now() - this.#renewed.wall);
  }
}
