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

  /** As `age`, by the wall clock alone: a cheap check of each message, whose request needs a good `age` to be written. */
  get wallAge(): number {
    return this.#renewed === undefined ? Number.POSITIVE_INFINITY : Date.now() - this.#renewed.wall;
  }

  /** Milliseconds since the last renewal; infinite before the first. */
  get age(): number {
    if (this.#renewed === undefined) return Number.POSITIVE_INFINITY;
    return Math.max(performance.now() - this.#renewed.monotonic, this.wallAge);
  }
}
