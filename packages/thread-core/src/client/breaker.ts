import { jittered } from './retry.js';

/** When an endpoint that fails again and again is left in peace. */
export interface BreakerOptions {
  /** So many failures in a row, with no ARC answer between them. Default 10. */
  failures?: number | undefined;
  /** Milliseconds of the first pause; each further one is twice as long, up to four times this. Default 500. */
  pause?: number | undefined;
}

/** How an endpoint does. */
export interface EndpointState {
  /** Origin and path. */
  address: string;
  /** `closed`: it is asked. `open`: calls fail at once. `half-open`: the pause is over, and the next call is a probe. */
  state: 'closed' | 'open' | 'half-open';
  /** Transport failures in a row, retries included. */
  failures: number;
}

const GROWTH = 4;

/** Counts the failures of one endpoint, and opens after too many. While it is open, one call for each pause goes through. */
export class Breaker {
  failures = 0;
  isOpen = false;
  readonly #limit: number;
  readonly #firstPause: number;
  #pause = 0;
  #until = 0;

  /** `limit` may be infinite: it never opens then. */
  constructor(limit: number, firstPause: number) {
    this.#limit = limit;
    this.#firstPause = firstPause;
  }

  /** The endpoint gave no answer, or none that is ARC. */
  failed(): void {
    this.failures += 1;
    // What fails while it is open was sent before, or is a probe, with which the next pause has begun.
    if (this.isOpen || this.failures < this.#limit) return;
    this.isOpen = true;
    this.#rest(this.#firstPause);
  }

  /** The endpoint gave an ARC answer, whatever it says. */
  answered(): void {
    this.failures = 0;
    this.isOpen = false;
  }

  /** Whether a call may go through although it is open: as a probe. Until that is answered, the next pause runs. */
  takesProbe(): boolean {
    if (this.pauseLeft > 0) return false;
    // No slot that a probe without an end would block: a probe that says nothing is followed by the next one.
    this.#rest(Math.min(this.#pause * 2, this.#firstPause * GROWTH));
    return true;
  }

  /** Milliseconds until it takes a probe. */
  get pauseLeft(): number {
    return Math.max(this.#until - performance.now(), 0);
  }

  get state(): EndpointState['state'] {
    if (!this.isOpen) return 'closed';
    return this.pauseLeft > 0 ? 'open' : 'half-open';
  }

  #rest(pause: number): void {
    this.#pause = pause;
    this.#until = performance.now() + jittered(pause);
  }
}
