import type { Ownership } from '../store/session-store.js';
import { setBounded } from './bounded-map.js';
import type { ReconciledSession } from './cluster-reconcile.js';

/** How many are remembered. */
const MAX_GIVEN_UP = 100_000;

/** Sessions that this process has had and has given up, although the store may still have them as its own. */
export class GivenUpSessions {
  readonly #epochs = new Map<string, number>();
  /** Those that are to be registered once more. */
  readonly #unconfirmed = new Map<string, ReconciledSession>();
  #disputedUntil = 0;

  add({ sid, epoch }: Ownership, unconfirmed: ReconciledSession): void {
    setBounded(this.#epochs, sid, epoch, MAX_GIVEN_UP);
    this.#unconfirmed.set(sid, unconfirmed);
  }

  has(sid: string): boolean {
    return this.#epochs.has(sid);
  }

  /** Whether it was given up under this epoch: the store does not have what this process did with it before. */
  includes({ sid, epoch }: Ownership): boolean {
    return this.#epochs.get(sid) === epoch;
  }

  /** Registers it once more, if that is still to be done. */
  async register(sid: string): Promise<void> {
    await this.#unconfirmed.get(sid)?.flush();
  }

  /** This node has it again. */
  forget(sid: string): void {
    this.confirm(sid);
    this.#epochs.delete(sid);
  }

  /** It is not registered once more: that is done, or not needed. */
  confirm(sid: string): void {
    const session = this.#unconfirmed.get(sid);
    this.#unconfirmed.delete(sid);
    session?.lost();
  }

  /**
   * The store has lost its data while the lease of this node was over, and with it who has claimed these sessions since. For so
   * many milliseconds those nodes register them again.
   */
  dispute(duration: number): void {
    this.#disputedUntil = performance.now() + duration;
  }

  /** Whether it may be another node's, although the store has it as this one's. */
  isDisputed(owned: Ownership): boolean {
    return this.includes(owned) && performance.now() < this.#disputedUntil;
  }
}
