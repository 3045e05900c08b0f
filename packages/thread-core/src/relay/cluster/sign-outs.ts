import { setBounded } from './bounded-map.js';

/** How many are remembered. */
const MAX_REMEMBERED = 10_000;

/** When the sessions of an identity were ended, or one session: what was asked for before ends when it comes to this node. */
export class SignOuts {
  readonly #times = new Map<string, number>();

  /**
   * The sessions of an identity were ended, at that moment of the monotonic clock. Those that are on their way end when they come;
   * `sids`, whenever they come.
   */
  remember(identityKey: string, sids: readonly string[] = [], at = performance.now()): void {
    const identity = `identity ${identityKey}`;
    setBounded(this.#times, identity, Math.max(at, this.#times.get(identity) ?? 0), MAX_REMEMBERED);
    for (const sid of sids) setBounded(this.#times, `session ${sid}`, Number.POSITIVE_INFINITY, MAX_REMEMBERED);
  }

  /** Whether a session was ended after a client had asked for it. */
  haveEnded(identityKey: string, sid: string, askedAt: number): boolean {
    return [`identity ${identityKey}`, `session ${sid}`].some((key) => (this.#times.get(key) ?? 0) > askedAt);
  }
}
