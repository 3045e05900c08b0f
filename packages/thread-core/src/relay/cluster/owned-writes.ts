import { FencedError, StoreError } from '../store/session-store.js';
import type { ClusterNode } from './cluster-node.js';
import { WriteQueue } from './write-queue.js';

/** What writing needs of a session. */
export interface OwnedSession {
  /** This node is done with the session. */
  readonly isReleased: boolean;
  /** Registers it again; if another node owns it, it is released. */
  registerAgain(boot: string): Promise<void>;
  /** It may be another node's. */
  giveUp(): void;
}

/** How often one write is tried again because the store does not know the session. */
const MAX_LOSSES = 3;

/** How often a store that gives no answer is asked in a row whose a session is. */
const MAX_QUESTIONS = 10;

/** The writes of one session that only its owner may make. */
export class OwnedWrites extends WriteQueue {
  readonly #node: ClusterNode;
  readonly #session: OwnedSession;

  constructor(node: ClusterNode, session: OwnedSession) {
    super();
    this.#node = node;
    this.#session = session;
  }

  /**
   * Undefined if no other node can have the session. Otherwise it is given up, unless a renewal shows that it is still this
   * node's.
   */
  confirm(): Promise<void> | undefined {
    if (this.#session.isReleased || this.#node.isLeaseGood) return undefined;
    return this.findOwner().then(() => {
      if (!this.#node.isLeaseGood) this.#session.giveUp();
    });
  }

  /**
   * Renews the lease, and registers the session again; if another node owns it, it is released. As long as that gets no answer, the
   * session may be another node's, although the lease is good.
   */
  async findOwner(): Promise<void> {
    for (let asked = 0; asked < MAX_QUESTIONS; asked += 1) {
      await this.#node.renewUntilConfirmed();
      // Away: the next renewal finds it out.
      if (this.#node.isAway || this.#session.isReleased) return;
      try {
        return await this.#session.registerAgain(this.#node.boot);
      } catch (error) {
        this.#node.noteFailedWrite(error);
        if (!(error instanceof StoreError && error.code === 'away')) return;
      }
    }
  }

  /**
   * A store that does not know the session may have lost its data, more than once. A renewal then registers the session
   * again; it is not awaited in the queue, in which it writes itself.
   * @throws StoreError `away` if it remains unknown who owns the session; FencedError if another node does
   */
  async addOwned(write: () => Promise<void>, losses = 0): Promise<void> {
    try {
      await this.add(write);
    } catch (error) {
      if (!(error instanceof FencedError)) throw error;
      await this.#node.renewAfresh();
      if (losses > 0 && !this.#node.isAway) await this.#session.registerAgain(this.#node.boot);
      if (this.#session.isReleased) throw error;
      const isUnknown = this.#node.isAway || losses === MAX_LOSSES;
      if (isUnknown) throw new StoreError('away', 'The owner is not known', { cause: error });
      await this.addOwned(write, losses + 1);
    }
  }
}
