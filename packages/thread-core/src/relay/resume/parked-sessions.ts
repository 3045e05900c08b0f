/** Of one identity or network, at least this many may be left to the store if there is room. */
const MIN_OF_GROUP = 10;

/** The share of all that one identity or network may have. */
const SHARE_OF_GROUP = 0.01;

/**
 * Counts the sessions that have nothing and were left to the store, which keeps each for its grace: a client that connects and
 * leaves again and again must not fill it.
 */
export class ParkedSessions {
  readonly #max: number;
  readonly #grace: number;
  readonly #counts = new Map<string, number>();
  /** The oldest is first. */
  readonly #parked: { group: string; until: number }[] = [];

  /** @param grace in milliseconds */
  constructor(max: number, grace: number) {
    this.#max = max;
    this.#grace = grace;
  }

  /** Counts one more of a group. False if there is no room for it. */
  add(group: string): boolean {
    this.#forgetExpired();
    const count = this.#counts.get(group) ?? 0;
    const most = Math.max(MIN_OF_GROUP, this.#max * SHARE_OF_GROUP);
    if (this.#parked.length >= this.#max || count >= most) return false;
    this.#counts.set(group, count + 1);
    this.#parked.push({ group, until: performance.now() + this.#grace });
    return true;
  }

  #forgetExpired(): void {
    const now = performance.now();
    const first = this.#parked.findIndex(({ until }) => until > now);
    for (const { group } of this.#parked.splice(0, first === -1 ? this.#parked.length : first)) {
      const count = this.#counts.get(group) ?? 0;
      if (count > 1) this.#counts.set(group, count - 1);
      else this.#counts.delete(group);
    }
  }
}
