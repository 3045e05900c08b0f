import { type Ownership, StoreError } from '../store/session-store.js';
import type { ClusterNode } from './cluster-node.js';
import type { ReconciledSession } from './cluster-reconcile.js';
import type { LatestDescription } from './record-owner.js';
import type { StoredThreads } from './stored-threads.js';

/**
 * A session that its node has given up, because its lease was over and the store did not say whose it is. Should the store have lost
 * its data, nobody else knows which chats are open. So the node registers the session once more, unless another one has it, and
 * forgets it then: sessions that only the store has of a node are ended.
 */
export class UnconfirmedSession implements ReconciledSession {
  readonly sid: string;
  readonly registration = 'maybe';
  readonly #node: ClusterNode;
  readonly #epoch: number;
  /** The life of the store's data in which it was registered. */
  readonly #boot: string;
  readonly #description: LatestDescription;
  readonly #threads: StoredThreads;
  #isForgotten = false;

  /** `owned`: undefined if the store never had it. */
  static add(
    node: ClusterNode,
    owned: Ownership | undefined,
    description: LatestDescription,
    threads: StoredThreads,
  ): void {
    if (owned === undefined) return;
    const session = new UnconfirmedSession(node, owned, description, threads);
    node.givenUp.add(owned, session);
    node.add(session);
    // A renewal that is under way may not come to it.
    node.noteFailedWrite(undefined);
  }

  private constructor(node: ClusterNode, owned: Ownership, description: LatestDescription, threads: StoredThreads) {
    this.sid = owned.sid;
    this.#node = node;
    this.#epoch = owned.epoch;
    this.#boot = node.boot;
    this.#description = description;
    this.#threads = threads;
  }

  /** `flush` does it, which follows at once. */
  async registerAgain(): Promise<void> {}

  async flush(): Promise<boolean> {
    if (this.#isForgotten) return true;
    const described = this.#description.find();
    const about = { epoch: this.#epoch, boot: this.#boot, threads: this.#threads.toRecord() };
    const { store, node } = this.#node;
    try {
      if (described !== undefined) await store.open(node, { ...described, ...about });
    } catch (error) {
      // It is tried again after the next renewal. A FencedError says that another node has it, or had it and has ended it.
      if (error instanceof StoreError) {
        this.#node.noteFailedWrite(error);
        return false;
      }
    }
    if (!this.#isForgotten) this.#node.givenUp.confirm(this.sid);
    return true;
  }

  lost(): void {
    this.#isForgotten = true;
    this.#node.remove(this);
  }
}
