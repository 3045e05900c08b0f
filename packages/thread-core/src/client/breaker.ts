import { jittered } from './retry.js';

/** When the circuit breaker of an endpoint opens, and for how long. */
export interface BreakerOptions {
  /**
   * Failures in a row, with no ARC answer between them, that open the circuit. A failure is no connection, no answer in
   * time, an answer that breaks off, or HTTP 502, 503 or 504 without an ARC envelope. One session counts for no more than
   * half of them. Default 10.
   */
  failures?: number | undefined;
  /** Milliseconds of the first pause. Each further pause is twice as long, up to four times this value. Default 500. */
  pause?: number | undefined;
}

/** The state of one endpoint. */
export interface EndpointState {
  /** Origin and path. */
  address: string;
  /** `closed`: requests are sent. `open`: calls fail at once. `half-open`: the next call is a probe. */
  state: 'closed' | 'open' | 'half-open';
  /** Failures in a row, retries included. */
  failures: number;
}

/** The longest pause, as a multiple of the first. */
const MAX_PAUSE_FACTOR = 4;

/**
 * The circuit breaker of one endpoint. It opens after too many failures in a row. While it is open, one call for each
 * pause goes through as a probe; all others fail at once.
 *
 * No session can open it alone, because one session's input may be what makes an agent fail: a session counts for at most
 * half of the failures. So a relay with a single session has no breaker, which costs that session the time of each attempt
 * and no one else. Calls without a session are the application's own, and count without a bound.
 */
export class Breaker {
  failures = 0;
  isOpen = false;
  readonly #limit: number;
  readonly #firstPause: number;
  #pause = 0;
  #until = 0;
  /** Failures that count towards opening. */
  #counted = 0;
  /** How often each session failed since the last answer. */
  #bySession: WeakMap<object, number> | undefined;
  #sessions = 0;
  /** Calls of the application itself have failed. */
  #hasOwn = false;

  /** `limit` may be infinite: the circuit never opens then. */
  constructor(limit: number, firstPause: number) {
    this.#limit = limit;
    this.#firstPause = firstPause;
  }

  /** The endpoint gave no answer. `session`: the session that the call was for; undefined for the application itself. */
  failed(session?: object): void {
    this.failures += 1;
    this.#count(session);
    // A call that fails while the circuit is open was sent before, or is a probe, with which the next pause has begun.
    const isOneSession = this.#sessions < 2 && !this.#hasOwn;
    if (this.isOpen || this.#counted < this.#limit || isOneSession) return;
    this.isOpen = true;
    this.#rest(this.#firstPause);
  }

  /** The endpoint gave an ARC answer, be it an error. */
  answered(): void {
    if (this.failures === 0) return;
    this.failures = 0;
    this.isOpen = false;
    this.#counted = 0;
    this.#bySession = undefined;
    this.#sessions = 0;
    this.#hasOwn = false;
  }

  /**
   * Whether a call may go through although the circuit is open: as a probe. Until it is answered, the next pause runs. A
   * session that has failed waits longer, so that others send the probe first: theirs may succeed.
   */
  takesProbe(session?: object): boolean {
    const delay = session !== undefined && this.#bySession?.has(session) ? this.#firstPause : 0;
    if (this.#until + delay > performance.now()) return false;
    // No slot is reserved for a probe, because one that never ends would block it: the next probe follows after a pause.
    this.#rest(Math.min(this.#pause * 2, this.#firstPause * MAX_PAUSE_FACTOR));
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

  #count(session: object | undefined): void {
    if (session === undefined) {
      this.#hasOwn = true;
      this.#counted += 1;
      return;
    }
    this.#bySession ??= new WeakMap();
    const before = this.#bySession.get(session) ?? 0;
    this.#bySession.set(session, before + 1);
    if (before === 0) this.#sessions += 1;
    if (before < Math.ceil(this.#limit / 2)) this.#counted += 1;
  }

  #rest(pause: number): void {
    this.#pause = pause;
    this.#until = performance.now() + jittered(pause);
  }
}
