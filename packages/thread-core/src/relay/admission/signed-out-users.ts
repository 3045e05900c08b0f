/** A connection that is being admitted. */
export interface WaitingConnection {
  /** How many times a user's sessions had been ended before. */
  readonly since: number;
}

/**
 * Remembers whose sessions were ended while connections were being admitted: their identities are not known yet, or
 * were read before that.
 */
export class SignedOutUsers {
  /** The number of the latest end of a user's sessions, the oldest first. */
  readonly #ends = new Map<string, number>();
  /** The oldest first. */
  readonly #waiting = new Set<WaitingConnection>();
  #count = 0;

  /** How many users are remembered. */
  get size(): number {
    return this.#ends.size;
  }

  /** A connection is being admitted. Call `leave` when it has its session, or is gone. */
  wait(): WaitingConnection {
    const connection = { since: this.#count };
    this.#waiting.add(connection);
    return connection;
  }

  /** Forgets what only this connection needed. */
  leave(connection: WaitingConnection): void {
    this.#waiting.delete(connection);
    const [oldest] = this.#waiting;
    for (const [key, end] of this.#ends) {
      if (oldest !== undefined && end > oldest.since) return;
      this.#ends.delete(key);
    }
  }

  /** The sessions of a user are ended. */
  add(key: string): void {
    if (this.#waiting.size === 0) return;
    this.#count += 1;
    this.#ends.delete(key);
    this.#ends.set(key, this.#count);
  }

  /** Whether the user's sessions were ended since the connection waits. */
  has({ since }: WaitingConnection, key: string): boolean {
    return (this.#ends.get(key) ?? 0) > since;
  }
}
