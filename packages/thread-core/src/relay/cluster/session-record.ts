import type { ChatOutcome } from '../../threads/ending.js';
import type { ThreadEntry } from '../../threads/store.js';
import { FencedError, type JournalSlice, type Ownership, type SessionState } from '../store/session-store.js';
import { ClusterUnavailableError } from './cluster-errors.js';
import type { ClusterNode } from './cluster-node.js';
import type { ReconciledSession } from './cluster-reconcile.js';
import { OwnedWrites } from './owned-writes.js';
import { type ClaimedRecord, LatestDescription, type RecordOwner } from './record-owner.js';
import { StoredThreads } from './stored-threads.js';
import { UnconfirmedSession } from './unconfirmed-session.js';

/**
 * Keeps one session in the store: each thread before its chat.start, so that others can end the chat if this process dies.
 * A resumable session is registered when it begins, so that other nodes find it, and any other one with its first thread.
 */
export class SessionRecord implements ReconciledSession {
  readonly sid: string;
  readonly #node: ClusterNode;
  readonly #owner: RecordOwner;
  #owned: Ownership | undefined;
  /** The store was asked to register it, and has not answered that it did. */
  #isUncertain = false;
  /** It is marked as expired in the store, which does not count it among this node's any more. */
  #isExpired = false;
  readonly #description: LatestDescription;
  readonly #threads: StoredThreads;
  /** Keys of threads that could not be written. */
  readonly #unwritten = new Set<string>();
  readonly #writes: OwnedWrites;
  /** This node is done with the session: it has ended, or is left to others. */
  isReleased = false;

  /** `claimed`: how the node owns the session already, and its threads as they were stored. */
  constructor(node: ClusterNode, sid: string, owner: RecordOwner, claimed?: ClaimedRecord) {
    this.sid = sid;
    this.#node = node;
    this.#owner = owner;
    this.#writes = new OwnedWrites(node, this);
    this.#description = new LatestDescription(owner, claimed !== undefined);
    this.#threads = new StoredThreads(claimed?.threads);
    this.#owned = claimed?.owned;
    if (claimed !== undefined) node.add(this);
  }

  get registration(): 'yes' | 'no' | 'maybe' {
    if (!this.#writes.isEmpty || this.#isUncertain) return 'maybe';
    return this.#owned === undefined || this.#isExpired ? 'no' : 'yes';
  }

  /** Its threads, by the chat id that each began with. */
  get threads(): Record<string, ThreadEntry> {
    return this.#threads.toRecord();
  }

  /** Registers a session that can be resumed from now on. Never rejects: it is tried again after a renewal, or with a thread. */
  async register(): Promise<void> {
    // With a thread of the application it may be registered already, or soon be, without its secret.
    if (this.#node.isAway && this.#owned === undefined && this.#writes.isEmpty) return;
    const joined = this.#node.joined();
    await joined.then(() => this.#registerInQueue()).catch(() => undefined);
  }

  /** Adds frames to the journal in the store. Registers the session if it is not registered yet. */
  append(next: () => JournalSlice): Promise<void> {
    return this.#writes.add(async () => {
      const owned = await this.#ensureRegistered();
      if (owned === undefined) return;
      const slice = next();
      if (slice.frames.length > 0) await this.#node.store.append(owned, slice);
    });
  }

  /** Drops frames from the journal in the store, up to a number. The store does not check whose session it is. */
  trim(seq: number): Promise<void> {
    return this.#writes.add(async () => {
      if (!this.isReleased) await this.#node.store.trim(this.sid, seq);
    });
  }

  /** Gives the session to another node. False if that node is dead: the session stays here. Rejects as the store does. */
  async handover(to: string, state: () => SessionState): Promise<boolean> {
    let isDone = false;
    await this.#writes.addOwned(async () => {
      if (this.#owned !== undefined) isDone = await this.#node.store.handover(this.#owned, to, state());
      // In the queue: what is written next must know.
      if (isDone) this.release();
    });
    return isDone;
  }

  /** Gives the session up for whichever node claims it. */
  async park(state: () => SessionState): Promise<void> {
    await this.#writes.addOwned(async () => {
      const owned = await this.#ensureRegistered();
      if (owned !== undefined) await this.#node.store.park(owned, state());
      this.release();
    });
  }

  /**
   * Marks the session as expired, so that it cannot be resumed while its chats are ended. False if it has another owner by now.
   * @param cleanupTimeout milliseconds for its chats. Other nodes end later what is left of them.
   */
  async expire(cleanupTimeout: number): Promise<boolean> {
    try {
      await this.#writes.addOwned(async () => {
        if (this.#owned === undefined) return;
        await this.#node.store.expire(this.#owned, this.#node.takeoverAfter(cleanupTimeout));
        this.#isExpired = true;
      });
    } catch (error) {
      if (error instanceof FencedError) return false;
      this.#node.noteFailedWrite(error);
      // Another node may have claimed it by now. If none has, its chats are ended after the next renewal.
      if (!this.#node.isLeaseGood) return false;
    }
    return !this.isReleased;
  }

  /** The session is not this node's any more, and stays in the store. */
  release(): void {
    this.isReleased = true;
    this.#owned = undefined;
    this.#node.remove(this);
  }

  /** A write failed: it is tried again after the next renewal. */
  failed(error: unknown): void {
    if (error instanceof FencedError) void this.findOwner();
    else this.#node.noteFailedWrite(error);
  }

  /**
   * Stores a thread before its chat.start.
   * @throws ClusterUnavailableError if it could not be stored: the chat must not be started
   */
  async beforeStart(entry: ThreadEntry): Promise<void> {
    if (this.isReleased) throw new ClusterUnavailableError();
    try {
      // A function of the application that throws is no failure of the store, and changes nothing for other sessions.
      if (this.#owned === undefined) this.#description.read();
    } catch (error) {
      throw new ClusterUnavailableError(error);
    }
    for (const key of this.#threads.start(entry)) this.#writeSoon(key);
    try {
      await this.#node.joined();
      await this.#node.check();
      await this.#writes.addOwned(() => this.#writeThread(entry.chatId));
      if (this.isReleased) throw new ClusterUnavailableError();
    } catch (error) {
      if (!(error instanceof FencedError)) this.#writeLater(entry.chatId, error);
      throw error instanceof ClusterUnavailableError ? error : new ClusterUnavailableError(error);
    }
  }

  beforeWaiting(): Promise<void> | undefined {
    return this.#node.check(this.#owner.isConnected());
  }

  mayWrite(): boolean {
    return this.#node.isLeaseGood || this.#node.mayWrite(this.#owner.isConnected());
  }

  beforeEnd(): Promise<void> | undefined {
    return this.#description.isClaimable ? this.#writes.confirm() : undefined;
  }

  /** Stores a thread whose chat was started elsewhere. */
  onAdopted(entry: ThreadEntry): void {
    if (this.isReleased) return;
    this.#threads.add(entry);
    this.#queueThread(entry.chatId);
  }

  /** Stores what has changed of a thread: its chat id, or whether it is settled. */
  onChange(entry: ThreadEntry, previous: string): void {
    for (const key of this.#threads.change(entry, previous)) this.#writeSoon(key);
  }

  /** Removes a thread whose chat is ended, or was never started. */
  onRemoved(entry: ThreadEntry, _outcome: ChatOutcome | undefined): void {
    const key = this.#threads.remove(entry);
    if (key !== undefined) this.#writeSoon(key);
  }

  /** Removes the session, once all its chats are ended. Never rejects: what stays is removed after a renewal. */
  async unregister(): Promise<void> {
    if (this.isReleased) return;
    this.isReleased = true;
    await this.#writes.add(async () => {
      const closing = this.#owned && this.#node.store.close(this.#owned);
      await closing?.catch((error: unknown) => error instanceof FencedError || this.#node.noteFailedWrite(error));
      this.#owned = undefined;
    });
    this.#node.remove(this);
  }

  /** In the queue, so that no frames are written before it is known that those before them are to be written again. */
  registerAgain(boot: string): Promise<void> {
    return this.#writes.add(() => this.#registerAgain(boot));
  }

  async #registerAgain(boot: string): Promise<void> {
    const { store, node } = this.#node;
    const owned = this.#owned;
    if (owned === undefined || this.isReleased || this.#isExpired) return;
    const described = this.#description.find();
    if (described === undefined) return;
    try {
      await store.open(node, { ...described, epoch: owned.epoch, boot, threads: this.threads });
      this.#owner.onRegisteredAgain();
    } catch (error) {
      if (!(error instanceof FencedError)) throw error;
      this.lost();
    }
  }

  async flush(): Promise<boolean> {
    if (this.#isUncertain) await this.#registerInQueue();
    for (const key of [...this.#unwritten]) {
      if (this.isReleased) return true;
      this.#unwritten.delete(key);
      // If the store does not know the session, the next renewal finds out whether data was lost or the session.
      await this.#writes.add(() => this.#writeThread(key)).catch((error: unknown) => this.#writeLater(key, error));
    }
    if (this.isReleased) return true;
    return (await this.#owner.writeJournal()) && this.#unwritten.size === 0 && !this.#isUncertain;
  }

  lost(): void {
    if (this.isReleased) return;
    this.release();
    this.#owner.onLost();
  }

  /** As `lost`, while the store does not say whose it is. */
  giveUp(): void {
    if (!this.isReleased) UnconfirmedSession.add(this.#node, this.#owned, this.#description, this.#threads);
    this.lost();
  }

  #writeSoon(key: string): void {
    if (!this.isReleased && this.#owned !== undefined) this.#queueThread(key);
  }

  #queueThread(key: string): void {
    this.#writes
      .addOwned(() => this.#writeThread(key))
      .catch((error: unknown) => error instanceof FencedError || this.#writeLater(key, error));
  }

  async #writeThread(key: string): Promise<void> {
    // It may have been released while this waited in the queue. To register it anew would bring it back.
    if (this.isReleased) return;
    const entry = this.#threads.get(key);
    if (this.#owned === undefined) {
      // What was removed before it was ever written need not be.
      if (entry !== undefined) await this.#openInStore();
      return;
    }
    await this.#node.store.thread(this.#owned, key, entry ?? null);
  }

  /** After a write that was refused, or got no answer: whose is the session now? The count of a renewal may not show that. */
  findOwner(): Promise<void> {
    return this.#writes.findOwner();
  }

  async #registerInQueue(): Promise<void> {
    const registering = this.#writes.add(async () => void (await this.#ensureRegistered()));
    await registering.catch((error: unknown) => {
      // Where data was lost it would create the session again, so another node has it.
      if (error instanceof FencedError) this.lost();
      else if (this.#isUncertain) this.failed(error);
    });
  }

  async #ensureRegistered(): Promise<Ownership | undefined> {
    if (!this.isReleased && !this.#description.isClaimable) await this.#openInStore();
    return this.isReleased ? undefined : this.#owned;
  }

  async #openInStore(): Promise<void> {
    const again = this.#owned && { epoch: this.#owned.epoch, boot: this.#node.boot };
    const meta = { ...this.#description.read(), ...again, threads: this.threads };
    this.#node.add(this);
    this.#isUncertain = true;
    this.#owned = await this.#node.store.open(this.#node.node, meta);
    this.#isUncertain = false;
    this.#description.isClaimable = meta.secretHash !== undefined;
  }

  #writeLater(key: string, error: unknown): void {
    this.#unwritten.add(key);
    this.#node.noteFailedWrite(error);
  }
}
