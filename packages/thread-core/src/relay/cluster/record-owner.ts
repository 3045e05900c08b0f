import type { ThreadEntry } from '../../threads/store.js';
import type { Ownership, SessionMeta } from '../store/session-store.js';

/** What a session says of itself when it is registered. */
export type SessionDescription = Omit<SessionMeta, 'epoch' | 'boot' | 'threads'>;

/** What a node has claimed: its right to write the session, and the session's threads. */
export interface ClaimedRecord {
  readonly owned: Ownership;
  readonly threads: Record<string, ThreadEntry>;
}

export interface RecordOwner {
  /** Its client is connected to this node itself, and has not resumed it elsewhere. */
  isConnected(): boolean;
  describe(): SessionDescription;
  /** Writes what the journal in the store does not have. Resolves to whether it has all of it. */
  writeJournal(): Promise<boolean>;
  /** The session was registered again: the store may have lost its journal. */
  onRegisteredAgain(): void;
  /** Another node owns the session: its chats are not this node's to end. */
  onLost(): void;
}

/** A function of the application threw (the cause), which says nothing about the store, and changes nothing for other sessions. */
export class DescriptionError extends Error {}

/** What a session says of itself; what it said last if a function of the application throws. */
export class LatestDescription {
  readonly #owner: RecordOwner;
  #latest: SessionDescription | undefined;
  /** The store has the secret, so that other nodes find the session. */
  isClaimable: boolean;

  constructor(owner: RecordOwner, isClaimable: boolean) {
    this.#owner = owner;
    this.isClaimable = isClaimable;
  }

  /** @throws DescriptionError if a function of the application throws the first time */
  read(): SessionDescription {
    try {
      this.#latest = this.#owner.describe();
    } catch (error) {
      if (this.#latest === undefined) throw new DescriptionError('A session cannot be described', { cause: error });
    }
    return this.#latest;
  }

  /** As `read`. Undefined if it throws: then it stays out of the store. To throw would keep all other sessions out as well. */
  find(): SessionDescription | undefined {
    try {
      return this.read();
    } catch {
      return undefined;
    }
  }
}
