import type { ThreadEntry } from '../../threads/store.js';

/**
 * The version of what stores write. A store reads records of its own version only; fields that it does not know are
 * additions of a newer release, which it ignores and keeps.
 */
export const STORED_VERSION = 1;

/** A value that survives `JSON.stringify` and `JSON.parse`. */
export type JsonValue = string | number | boolean | null | JsonValue[] | { [name: string]: JsonValue | undefined };

/** A process of the cluster. */
export interface StoreNode {
  /** 1 to 128 characters, unique in the cluster. */
  readonly name: string;
  /** Random, made anew by each process: distinguishes processes of the same name. */
  readonly incarnation: string;
  /** Milliseconds without a renewal after which the node counts as dead. */
  readonly lease: number;
}

/**
 * The right to write a session. A store checks all of it on every write, because agents check nothing: epoch and
 * incarnation are the fence between a node and the one that took the session over.
 */
export interface Ownership {
  readonly sid: string;
  /** Grows by one whenever the session changes hands. */
  readonly epoch: number;
  readonly node: string;
  readonly incarnation: string;
}

/** Frames to the client that it has not acknowledged, each as the text of its JSON, in order and without gaps. */
export interface JournalSlice {
  /** The number of the first frame; that of the others follows from it. */
  firstSeq: number;
  frames: string[];
}

/** How far a session has come. */
export interface SessionProgress {
  /** The number of the last frame to the client. */
  seq: number;
  /** How many frames of the client were taken. */
  got: number;
  /** Ids of sends that run, wait, or are kept. */
  pending: (string | number)[];
}

/** What `open` registers. */
export interface SessionMeta extends Partial<SessionProgress> {
  sid: string;
  /** The epoch under which it is owned already, when it is registered again. Without it: a new session, of epoch 1. */
  epoch?: number;
  /**
   * The `Renewal.boot` under which it was registered last, when it is registered again. If that has not changed, no
   * data was lost: a record that is missing was removed by another node.
   */
  boot?: string;
  /** SHA-256 of the session's secret, in hexadecimal. A session without it cannot be claimed, only reaped. */
  secretHash?: string | undefined;
  /** What `identity.key` gave: only the same key may claim the session, and `sessionsOf` finds it by this. */
  identityKey?: string | undefined;
  /** What `identity.save` gave: the reaper needs it to ask for a token. */
  identity?: JsonValue | undefined;
  /** Milliseconds for which the session outlives its node, beyond the node's lease, before its chats are ended. */
  grace: number;
  /** Its threads, by the keys of `thread`. */
  threads?: Record<string, ThreadEntry>;
}

/** The state of a session that is handed over or parked. */
export interface SessionState extends SessionProgress {
  threads: Record<string, ThreadEntry>;
  /** What the client has not acknowledged. It replaces what the store has of the journal. */
  journal: JournalSlice;
  /** Message frames of the client, as text, that were taken (`got`) and have not been begun. */
  waiting: string[];
}

/** A session as the store has it. */
export interface StoredSession extends SessionProgress {
  sid: string;
  identityKey: string | undefined;
  identity: JsonValue | undefined;
  grace: number;
  threads: Record<string, ThreadEntry>;
  waiting: string[];
  /**
   * Whether its last owner parked it or handed it over, so that all of this is exact, also if the node that got it died
   * or left without having claimed it. False if that owner died: `seq` and `got` are then lower bounds, and whatever was
   * pending was interrupted.
   */
  exact: boolean;
}

/** What became of a claim. Whoever gets `claimed` owns the session. Times are milliseconds. */
export type ClaimResult =
  /** The caller owns it. Claiming again gives the same epoch. */
  | { state: 'claimed'; owned: Ownership; session: StoredSession }
  /**
   * Not now: a living node owns it (`owner`), it is being reaped, or the store lost its data and nodes are registering
   * their sessions again. Ask the owner, or again after so many milliseconds.
   */
  | { state: 'busy'; owner: string | undefined; retryAfter: number }
  /** There is no such session, or the secret is another one: nobody learns which. */
  | { state: 'unknown' }
  /** The session belongs to another identity. */
  | { state: 'forbidden' }
  /** Its grace is over, and its chats are being ended. */
  | { state: 'expired' };

/** What `join` and `renew` give. */
export interface Renewal {
  /** How many sessions the store has of this node; those that it marked as expired, or reaps, do not count. */
  sessions: number;
  /** Another process has taken the node's name. Nothing is renewed, and nothing that this node writes is accepted. */
  fenced: boolean;
  /** The lease had run out before: sessions may have been claimed or reaped. */
  lapsed: boolean;
  /** Names the life of the stored data; it changes when data was lost (a flush, a restart, a failover). */
  boot: string;
}

/** A session whose chats the caller has to end, within the time that it gave. */
export interface ReapedSession {
  owned: Ownership;
  session: StoredSession;
}

/** How much `reap` takes. */
export interface ReapOptions {
  /** Sessions at most. */
  limit: number;
  /** Milliseconds after which another node takes over what this one has not finished. */
  takeoverAfter: number;
}

/** A session of an identity, and the node that owns it: undefined if that node is dead, or if it is parked. */
export interface SessionPlace {
  sid: string;
  owner: string | undefined;
}

/**
 * Where the nodes of a cluster register which sessions and threads there are, who owns them, and what was not
 * delivered. The owner's memory is the truth; the store has what others need when that owner is gone.
 *
 * What holds for every method:
 * - It is atomic. Of two nodes that claim, reap or expire a session at once, one succeeds.
 * - It is idempotent: clients of a database repeat commands, and one that timed out may still run. Called again with
 *   the same arguments by the same caller it gives the same result and changes nothing.
 * - It is fenced: whatever takes an `Ownership` throws a `FencedError` if the session's epoch, node or incarnation is
 *   another one, or if the session does not exist. All methods that take an `Ownership` or a `StoreNode`, except for
 *   `join`, `renew` and `leave`, also do so if another process has taken the node's name.
 * - It settles within a bound of the store's own, and rejects with a `StoreError` if the store cannot be reached. The
 *   write may still have happened.
 * - Time is the store's own clock. Times given and returned are durations in milliseconds.
 */
export interface SessionStore {
  /**
   * Makes a node known under its name, with a full lease, and takes the name from an older process: whatever that
   * one owned may be claimed at once. Discards what is in the inbox of that name.
   * @returns what `renew` returns
   */
  join(node: StoreNode): Promise<Renewal>;
  /** Extends a node's lease. A node that the store has forgotten is made known again. */
  renew(node: StoreNode): Promise<Renewal>;
  /** Forgets a node that stops, and its inbox. Sessions that it still owns are treated as those of a dead node. */
  leave(node: StoreNode): Promise<void>;

  /**
   * Registers a session under its owner, or registers it again after data was lost. A record of a lower epoch is
   * replaced, whoever owns it; one of the same owner and epoch stays, and gets the threads that it does not have. If it
   * has no secret, it gets that, too, with the identity and the grace.
   * @throws FencedError if the store has a higher epoch, or the same one of another owner, or if another node
   *   has removed the session
   */
  open(node: StoreNode, meta: SessionMeta): Promise<Ownership>;
  /** Stores a thread, or removes it if `entry` is null. Await it before the chat.start that it announces. */
  thread(owned: Ownership, key: string, entry: ThreadEntry | null): Promise<void>;
  /**
   * Adds frames to the journal. Frames that it has already are skipped.
   * @throws StoreError `gap` if frames between the journal's end and `firstSeq` are missing
   */
  append(owned: Ownership, slice: JournalSlice): Promise<void>;
  /** Frames of the journal after a number, at most so many entries of `append`; undefined if there are none. */
  read(sid: string, afterSeq: number, limit?: number): Promise<JournalSlice | undefined>;
  /** Drops frames up to a number, which the client has acknowledged. Never goes back, and needs no ownership. */
  trim(sid: string, seq: number): Promise<void>;

  /** Gives a session up for whoever claims it within its grace; afterwards it is reaped. */
  park(owned: Ownership, state: SessionState): Promise<void>;
  /**
   * Makes a living node the owner, with the next epoch. That node's `claim` then gives it the session.
   * @returns false if there is no such living node: the caller remains the owner
   */
  handover(owned: Ownership, to: string, state: SessionState): Promise<boolean>;
  /**
   * Takes over a session that is parked, handed over to this node, or owned by a dead node. Its owner is dead when
   * its lease has run out, or when a newer process has joined under its name. Nothing changes unless it is `claimed`.
   */
  claim(node: StoreNode, sid: string, secretHash: string, identityKey: string | undefined): Promise<ClaimResult>;
  /**
   * Marks a session of the caller's as expired before its chats are ended: it cannot be claimed any more, and should
   * the caller die, others end the chats after `takeoverAfter` milliseconds.
   */
  expire(owned: Ownership, takeoverAfter: number): Promise<void>;
  /**
   * Phase one of reaping: takes over sessions of dead nodes and parked ones whose grace is over, and those whose
   * reaper has taken too long. Nothing is reaped for one lease after data was lost, nor by a node whose own lease is over.
   * An answer that got lost is not given again: those sessions are taken over after `takeoverAfter`.
   */
  reap(node: StoreNode, options: ReapOptions): Promise<ReapedSession[]>;
  /**
   * As `reap`, for one session, whose grace need not be over. Undefined if another living node owns it, if it is being
   * ended already, and for one lease after data was lost.
   */
  reapOne(node: StoreNode, sid: string, takeoverAfter: number): Promise<ReapedSession | undefined>;
  /**
   * Removes a session and its journal: phase two of reaping, and what an owner does when its chats are ended. Does
   * nothing if there is no such session.
   */
  close(owned: Ownership): Promise<void>;

  /** The names of the living nodes. */
  nodes(): Promise<string[]>;
  /** The sessions that count in `Renewal.sessions`: for a node that finds that it and the store disagree. */
  sessionsOn(node: StoreNode): Promise<string[]>;
  /** The sessions of an identity, for `relay.endSessions`. */
  sessionsOf(identityKey: string): Promise<SessionPlace[]>;

  /**
   * Puts a message into the inbox of a node. Messages of one sender arrive in order, at least once.
   * @returns false if there is no such living node
   * @throws StoreError `full` if the inbox holds as much as it may
   */
  post(to: string, message: JsonValue): Promise<boolean>;
  /**
   * Hands the messages of a node's inbox to a listener, one after the other, until the returned function is called.
   * What the listener throws is ignored. Survives a store that is away for a while.
   */
  onPost(node: StoreNode, listener: (message: JsonValue) => void): Promise<() => Promise<void>>;
}

/**
 * Why an operation of a store failed: the store cannot be reached or does not answer (`away`), has no memory left or
 * an inbox is full (`full`), takes no writes (`readonly`), would leave a hole in a journal (`gap`), holds a record of
 * another version (`version`), or anything else (`failed`).
 */
export type StoreErrorCode = 'away' | 'full' | 'readonly' | 'gap' | 'version' | 'failed';

/** The store could not be reached, or refused. Whether a write happened is unknown if the code is `away`. */
export class StoreError extends Error {
  readonly code: StoreErrorCode;

  constructor(code: StoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'StoreError';
    this.code = code;
  }
}

/** The caller does not own the session any more: it must not write it, send for it, or end its chats. */
export class FencedError extends Error {
  readonly code = 'fenced';

  /** @param what the session or the node, as in "session 1a2b" */
  constructor(what: string) {
    super(`The ${what} has another owner`);
    this.name = 'FencedError';
  }
}
