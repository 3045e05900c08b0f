import { setBounded } from './bounded-map.js';

/** How many are remembered. */
const MAX_WAITING = 10_000;

/**
 * Sessions that came to this node, and whose identity could not be loaded, as when a database is away for a moment. Until their grace
 * is over they stay in the store as this node's, and are taken when their clients come again.
 */
export class WaitingSessions {
  /** When their grace is over, by the monotonic clock. */
  readonly #ends = new Map<string, number>();

  /** Milliseconds. Of a session that waits already, the first grace counts. */
  add(sid: string, grace: number): void {
    if (!this.has(sid)) setBounded(this.#ends, sid, performance.now() + grace, MAX_WAITING);
  }

  delete(sid: string): void {
    this.#ends.delete(sid);
  }

  has(sid: string): boolean {
    return (this.#ends.get(sid) ?? 0) > performance.now();
  }

  count(): number {
    for (const sid of this.#ends.keys()) if (!this.has(sid)) this.#ends.delete(sid);
    return this.#ends.size;
  }
}
